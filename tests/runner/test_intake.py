from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.intake import SIZE_LIMIT, parse_submission, results_of_unread, unknown_fields
from state.errors import AccessError, SubmissionError
from state.submission import ObjectVersion, Submission

BUCKET = "lab-platform-pca"
SOURCE = ObjectVersion(bucket=BUCKET, key="lab1/submissions/submit.json", version="v1")
GOOD: dict[str, Any] = {
    "dataname": "lab1/inputs/a.npy",
    "configname": "lab1/configs/c.yaml",
    "timestamp": "2026-11-22-12-00",
}


def parse(source: ObjectVersion = SOURCE, **changes: Any) -> Submission:
    return parse_submission(json.dumps(GOOD | changes).encode(), source)


def reason(body: bytes | str, source: ObjectVersion = SOURCE) -> str:
    with pytest.raises(SubmissionError) as caught:
        parse_submission(body.encode() if isinstance(body, str) else body, source)
    assert "\n" not in caught.value.reason
    return caught.value.reason


def refusal(**changes: Any) -> str:
    return reason(json.dumps(GOOD | changes))


def test_a_plain_submission_is_read_as_the_contract_says() -> None:
    found = parse()
    assert found.datasets == ("lab1/inputs/a.npy",)
    assert found.config == "lab1/configs/c.yaml"
    assert (found.group, found.name, found.instance_type, found.bypass) == ("lab1", "", None, False)
    assert found.data_bucket == found.results.bucket == BUCKET
    assert found.results.root == f"lab1/results/job__{BUCKET}_2026-11-22-12-00/"
    assert found.results.end == f"{found.results.root}process_results/end.txt"


def test_the_name_before_submit_json_names_the_job() -> None:
    source = ObjectVersion(bucket=BUCKET, key="lab1/submissions/mice_submit.json", version="v1")
    assert parse(source).results.root == f"lab1/results/job_mice_{BUCKET}_2026-11-22-12-00/"


def test_lists_and_folders_keep_their_order() -> None:
    keys = ["lab1/inputs/b/", "lab1/inputs/a.npy", "lab1/results/old/x.npy", "lab1/inputs/sub/a.npy"]
    assert parse(dataname=keys, instance_type="m5.large").datasets == tuple(keys)


@pytest.mark.parametrize(("given_", "read"), [(17, "17"), ("1 2", "1 2"), ("日本", "日本")])
def test_a_timestamp_may_be_any_unique_text(given_: object, read: str) -> None:
    assert parse(timestamp=given_).timestamp == read


def test_a_timestamp_that_is_a_number_keeps_its_digits() -> None:
    body = json.dumps(GOOD).replace('"2026-11-22-12-00"', "1605304194.120")
    assert parse_submission(body.encode(), SOURCE).timestamp == "1605304194.120"


def test_empty_optional_fields_count_as_absent() -> None:
    found = parse(instance_type="", resultpath=None)
    assert (found.instance_type, found.bypass) == (None, False)


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert parse_submission(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), SOURCE).group == "lab1"


def test_storage_of_ones_own_is_read() -> None:
    found = parse(dataname=["s3://my-own/d/a.npy"], configname="s3://my-own/c.yaml", resultpath="s3://my-own/out")
    assert found.bypass
    assert (found.data_bucket, found.datasets, found.config) == ("my-own", ("d/a.npy",), "c.yaml")
    assert (found.results.bucket, found.results.root) == ("my-own", f"out/job__{BUCKET}_2026-11-22-12-00/")
    top = parse(dataname="s3://my-own/a", configname="s3://my-own/c.yaml", resultpath="s3://my-own")
    assert top.results.root == f"job__{BUCKET}_2026-11-22-12-00/"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("{", "not valid JSON"),
        ('{"dataname": "a"', "line 1, column"),
        ("[]", "must be a JSON object"),
        ("null", "nothing (null)"),
        ('"text"', "is text"),
        ("NaN", "NaN is not a value"),
        (b"\xff\xfe{}", "not UTF-8"),
        ('{"timestamp": "1", "timestamp": "2"}', '"timestamp" twice'),
        ("[" * 100_000, "too deeply"),
        ('{"timestamp": ' + "9" * 5000 + "}", "a number that is too long"),
        (b" " * (SIZE_LIMIT + 1), "larger than 1024 KiB"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_a_json_object_is_refused_in_one_sentence(body: bytes | str, words: str) -> None:
    assert words in reason(body)


@pytest.mark.parametrize("missing", ["dataname", "configname", "timestamp"])
def test_each_required_field_is_named_when_it_is_missing(missing: str) -> None:
    assert f"no {missing}" in reason(json.dumps({k: v for k, v in GOOD.items() if k != missing}))
    assert f"no {missing}" in refusal(**{missing: None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataname": []}, "empty list"),
        ({"dataname": {}}, "dataname is {}"),
        ({"dataname": 7}, "dataname is 7"),
        ({"dataname": ""}, 'dataname is "", but must be the key of a dataset'),
        ({"dataname": [""]}, 'Entry 1 of dataname is ""'),
        ({"dataname": ["lab1/inputs/a", 3]}, "Entry 2 of dataname is 3"),
        ({"dataname": ["lab1/inputs/a"] * 2}, "2 times"),
        ({"dataname": ["lab1/inputs/a", "lab1/inputs/a/"]}, "2 times"),
        ({"dataname": [f"lab1/inputs/{n}" for n in range(10_001)]}, "10001 entries"),
        ({"dataname": "lab1/inputs/../../lab2/inputs/a"}, '".."'),
        ({"dataname": "lab1/inputs//a"}, "empty part"),
        ({"dataname": "/lab1/inputs/a"}, "empty part"),
        ({"dataname": "lab1/inputs/a\nb"}, "control character U+000A"),
        ({"dataname": "lab1/inputs/\u202eyp.a"}, "control character U+202E"),
        ({"dataname": "lab1/inputs/\ud800"}, "control character U+D800"),
        ({"dataname": "lab1/inputs/" + "x" * 201}, "too long"),
        ({"dataname": "lab1/inputs/" + "y/" * 520 + "x"}, "too long"),
        ({"dataname": "lab1/inputs/"}, "must be a file or folder inside"),
        ({"dataname": "lab1/submissions/submit.json"}, "must be a file or folder inside"),
        ({"dataname": "lab1/other/a"}, "must be a file or folder inside"),
        ({"dataname": f"s3://{BUCKET}/lab1/inputs/a"}, "give its key in the bucket"),
        ({"dataname": "https://example.org/a"}, "has the URL"),
        ({"configname": "lab1/configs/"}, "must be a file or folder inside"),
        ({"configname": "lab1/configs/x/"}, "must be one file"),
        ({"configname": ["lab1/configs/c.yaml"]}, "configname is"),
        ({"timestamp": ""}, 'timestamp is ""'),
        ({"timestamp": True}, "timestamp is true"),
        ({"timestamp": "a/b"}, "without slashes"),
        ({"timestamp": "a\0b"}, "control character U+0000"),
        ({"timestamp": "x" * 101}, "101 characters"),
        ({"instance_type": 3}, "instance_type is 3"),
        ({"instance_type": "m5\n"}, "control character"),
        ({"resultpath": "lab1/results"}, "must be a URL like s3://bucket/key"),
        ({"resultpath": "s3://my-own/out"}, "must be a URL like s3://bucket/key"),
        ({"resultpath": "s3://my-own/../x"}, '".."'),
        ({"resultpath": "s3://m/out"}, "must be a URL"),
        (
            {"resultpath": "s3://my-own/o", "dataname": "s3://other-one/a", "configname": "s3://my-own/c"},
            "in the bucket my-own: use one bucket",
        ),
        ({"resultpath": "s3://my-own/o", "dataname": "s3://my-own", "configname": "s3://my-own/c"}, "must name a file"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_rule_of_the_contract_has_its_sentence(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(**changes)


@pytest.mark.parametrize("field", ["dataname", "configname"])
def test_another_groups_key_is_a_matter_of_access(field: str) -> None:
    for key in ("lab2/inputs/a", "lab11/inputs/a", "lab1"):
        with pytest.raises(AccessError, match="not yours"):
            parse(SOURCE, **{field: key})


def test_a_long_name_that_fits_itself_must_also_fit_its_status_file() -> None:
    source = ObjectVersion(bucket=BUCKET, key=f"lab1/submissions/{'n' * 950}_submit.json", version="v1")
    with pytest.raises(SubmissionError, match="too long for the folder of its results"):
        parse(source)
    told = results_of_unread(json.dumps(GOOD).encode(), source, "pca-1")
    assert told.root == f"lab1/results/job__{BUCKET}_pca-1/"


def test_a_misspelt_field_is_refused_and_a_strange_one_is_noted() -> None:
    body = {k: v for k, v in GOOD.items() if k != "timestamp"} | {"timestmp": "1"}
    assert "did you mean timestamp?" in reason(json.dumps(body))
    assert "did you mean instance_type?" in refusal(**{"instance-type": "m5.large"})
    assert parse(email="x@y.z", datanames="kept beside dataname").datasets == ("lab1/inputs/a.npy",)
    assert unknown_fields(json.dumps(GOOD | {"z": 1, "email": 2}).encode()) == ('"email"', '"z"')


def test_only_submit_files_are_submissions() -> None:
    for key in ("lab1/submissions/other.json", "lab1/inputs/submit.json", "submit.json"):
        assert "not a submit file" in reason("{}", ObjectVersion(bucket=BUCKET, key=key, version=""))


@pytest.mark.parametrize(
    ("body", "folder"),
    [
        (b'{"timestamp": "t1"}', f"job__{BUCKET}_t1"),
        (b'{"timestamp": 5, "dataname": []}', f"job__{BUCKET}_5"),
        (b'{"timestamp": "../x"}', f"job__{BUCKET}_pca-1"),
        (b"not json", f"job__{BUCKET}_pca-1"),
        (b'{"resultpath": "s3://elsewhere/x"}', f"job__{BUCKET}_pca-1"),
    ],
)
def test_a_refusal_has_a_place_to_be_told(body: bytes, folder: str) -> None:
    keys = results_of_unread(body, SOURCE, "pca-1")
    assert (keys.bucket, keys.root) == (BUCKET, f"lab1/results/{folder}/")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*GOOD, "instance_type", "resultpath", "x"), JSON)))
def test_no_json_makes_it_stumble_or_leave_the_prefix(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    assert results_of_unread(body, SOURCE, "pca-1").root.startswith("lab1/results/job_")
    try:
        found = parse_submission(body, SOURCE)
    except SubmissionError as error:
        told = error.reason
    else:
        told = "accepted"
        assert found.bypass or all(key.startswith("lab1/") for key in (*found.datasets, found.config))
    assert told.isprintable()


@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(body: bytes) -> None:
    with pytest.raises(SubmissionError):
        parse_submission(body, SOURCE)
