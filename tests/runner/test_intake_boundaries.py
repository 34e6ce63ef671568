"""The largest and the strangest that is still a submission, and the first that is none."""

from __future__ import annotations

import json

import pytest

from runner.intake import SIZE_LIMIT, parse_submission
from state.errors import SubmissionError
from state.submission import ObjectVersion, Submission

SOURCE = ObjectVersion(bucket="lab-platform-pca", key="lab1/submissions/submit.json", version="v1")
LONGEST = 1024
"""Bytes of a key that S3 takes."""


def submit(dataname: object) -> Submission:
    body = {"dataname": dataname, "configname": "lab1/configs/c.yaml", "timestamp": "t1"}
    return parse_submission(json.dumps(body).encode(), SOURCE)


def a_key(size: int, letter: str = "x") -> str:
    """Return a key of so many bytes, made of folders with names of at most 200 bytes."""
    key, width = "lab1/inputs", len(letter.encode())
    while (left := size - len(key.encode()) - 1) > 0:
        short = min(left, 200 - 200 % width)
        if 0 < left - short < 1 + width:  # a slash and a letter must remain for the next one
            short -= 2 * width
        key += "/" + letter * (short // width)
    return key


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_longest_key_that_s3_takes_is_taken_and_one_byte_more_is_not(letter: str) -> None:
    key = a_key(LONGEST - 2, letter)
    key += "x" * (LONGEST - len(key.encode()))
    assert len(key.encode()) == LONGEST
    assert submit(key).datasets == (key,)
    with pytest.raises(SubmissionError, match="too long"):
        submit(key + "x")


def test_a_name_may_have_200_bytes_and_not_one_more() -> None:
    assert submit("lab1/inputs/" + "n" * 200).datasets
    with pytest.raises(SubmissionError, match="too long"):
        submit("lab1/inputs/" + "n" * 201)


@pytest.mark.parametrize("count", [1, 70, 5000, 10_000])
def test_many_datasets_are_one_submission_and_keep_their_order(count: int) -> None:
    keys = [f"lab1/inputs/{number}.npy" for number in range(count)]
    assert submit(keys).datasets == tuple(keys)


def test_no_dataset_too_many_and_one_of_5000_twice_are_refused() -> None:
    keys = [f"lab1/inputs/{number}.npy" for number in range(10_001)]
    for wanted, words in (
        ([], "empty list"),
        (keys, "at most 10000"),
        ([*keys[:5000], keys[77]], '77.npy" 2 times'),
    ):
        with pytest.raises(SubmissionError, match=words):
            submit(wanted)


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    body = json.dumps({"dataname": "lab1/inputs/a", "configname": "lab1/configs/c", "timestamp": "t"}).encode()
    assert parse_submission(body.ljust(SIZE_LIMIT), SOURCE).timestamp == "t"
    with pytest.raises(SubmissionError, match="larger than 1024 KiB"):
        parse_submission(body.ljust(SIZE_LIMIT + 1), SOURCE)


@pytest.mark.parametrize(
    "name",
    [
        "a b.npy",
        "it's.npy",
        'say "hi".npy',
        "$(id).npy",
        "`id`.npy",
        "${path.root}.npy",
        "日本 é.npy",
        "-rf.npy",
        "%2F.npy",
    ],
)
def test_a_strange_name_is_kept_as_it_is(name: str) -> None:
    assert submit(f"lab1/inputs/{name}").datasets == (f"lab1/inputs/{name}",)


@pytest.mark.parametrize(
    "name", ["a\nb.npy", "a\rb.npy", "a\tb.npy", "a\x00b.npy", "a\x1b[2Jb.npy", "a\u202eb.npy", "a\u2028b.npy"]
)
def test_what_would_forge_a_line_or_turn_the_text_around_is_refused_by_its_number(name: str) -> None:
    with pytest.raises(SubmissionError, match=r"control character U\+") as caught:
        submit(f"lab1/inputs/{name}")
    assert "\n" not in caught.value.reason
