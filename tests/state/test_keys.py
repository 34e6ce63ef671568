from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.keys import (
    ID,
    SubmitKey,
    agent_key,
    job_folder,
    job_id,
    parse_submit_key,
    prefix,
    results_of,
    split_url,
)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("lab1/submissions/submit.json", SubmitKey(group="lab1", name="")),
        ("lab1/submissions/mice_submit.json", SubmitKey(group="lab1", name="mice")),
        ("lab1/submissions/two_words__submit.json", SubmitKey(group="lab1", name="two_words")),
        ("lab1/submissions/2026/mice_submit.json", SubmitKey(group="lab1", name="mice")),
        ("lab1/submissions/micesubmit.json", SubmitKey(group="lab1", name="mice")),
        ("lab1/submissions/config.json", None),
        ("lab1/inputs/submit.json", None),
        ("lab1/submissions/", None),
        ("submit.json", None),
        ("submissions/submit.json", None),
        ("/submissions/submit.json", None),
        ("lab1/sub/submissions/submit.json", None),
        ("", None),
    ],
)
def test_a_submit_key_tells_group_and_name(key: str, found: SubmitKey | None) -> None:
    assert parse_submit_key(key) == found


@given(st.text())
def test_no_key_makes_it_stumble(key: str) -> None:
    found = parse_submit_key(key)
    assert found is None or key.startswith(f"{found.group}/submissions/")


def test_results_lie_where_neurocaas_puts_them() -> None:
    keys = results_of(bucket="b", group="lab1", name="mice", timestamp="t1")
    root = "lab1/results/job_mice_b_t1/"
    assert keys.root == root
    assert keys.certificate == f"{root}logs/certificate.txt"
    assert keys.status("a.tif") == f"{root}logs/DATASET_NAME:a.tif_STATUS.txt"
    assert keys.results == f"{root}process_results/"
    assert keys.end == f"{root}process_results/end.txt"
    assert job_folder("", "b", "t1") == "job__b_t1"
    assert prefix("lab1", "inputs") == "lab1/inputs/"


def test_everything_of_a_job_is_below_its_root_and_no_two_are_the_same() -> None:
    keys = results_of(bucket="b", group="lab1", name="", timestamp="t1")
    found = [keys.certificate, keys.certificate_json, keys.results, keys.end, keys.logs, keys.workspace]
    found += [f(n) for n in range(3) for f in (keys.log, keys.report, keys.live_folder, keys.console)]
    found += [keys.live(0, 1), keys.live(0, 2), keys.live(1, 1), keys.status("a"), keys.status("b")]
    assert all(key.startswith(keys.root) for key in found)
    assert len(set(found)) == len(found)
    assert sorted([keys.live(0, 10), keys.live(0, 9)]) == [keys.live(0, 9), keys.live(0, 10)]


def test_a_job_id_is_the_identity_of_its_submission() -> None:
    first = job_id(analysis="pca", bucket="b", key="k", version="v1")
    assert re.fullmatch(r"pca-[0-9a-f]{12}", first)
    assert first == job_id(analysis="pca", bucket="b", key="k", version="v1")
    others = [
        job_id(analysis="pca", bucket=b, key=k, version=v)
        for b, k, v in (("b", "k", "v2"), ("b", "kv", "1"), ("bk", "", "v1"), ("", "bk", "v1"))
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://b/k/x", ("b", "k/x")),
        ("s3://b", ("b", "")),
        ("s3:///k", None),
        ("https://b/k", None),
        ("b/k", None),
    ],
)
def test_an_s3_url_is_split(url: str, found: tuple[str, str] | None) -> None:
    assert split_url(url) == found


def test_ids_are_safe_in_every_name() -> None:
    for good in ("pca", "lab-1", "a" * 32, "p2p"):
        assert ID.match(good)
    for bad in ("", "ab", "Lab", "1lab", "lab_", "-lab", "lab-", "a" * 33, "lab/x", "lab\n"):
        assert not ID.fullmatch(bad)


def test_an_agents_key_is_its_content() -> None:
    assert agent_key("ab") == "agent/ab.pyz"
