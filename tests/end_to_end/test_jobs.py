"""Whole jobs through real Terraform, seen as a plain client sees them: objects in a bucket, and nothing else."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from state.job import JobStatus
from tests.end_to_end.living import BUCKET, GROUP, Living

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]


def end(living: Living, root: str) -> str:
    """Wait for the end marker, as clients do, and return it."""
    living.until(lambda: "process_results/end.txt" in living.keys(root), f"the end of {root}")
    return living.text(f"{root}process_results/end.txt")


def test_good_failing_loud_and_endless_jobs_beside_each_other(living: Living) -> None:
    good = living.submit(datasets=3)
    crash = living.submit(mode="crash")
    loud = living.submit(mode="loud")
    endless = living.submit(mode="forever", __duration__=1)

    assert end(living, good).startswith("end of analysis: done\n3 datasets processed.")
    copies = sorted(key for key in living.keys(good) if key.endswith("copy.txt"))
    assert len(copies) == 3
    for key in copies:
        name = key.split("/")[1]
        assert living.text(good + key) == f"content of {GROUP}/inputs/{name}"
        status = json.loads(living.text(f"{good}logs/DATASET_NAME:{name}_STATUS.txt"))
        assert status["status"] == "SUCCESS"

    said = end(living, crash)
    assert said.startswith("end of analysis: failed")
    assert "the dataset is upside down" in said
    assert "[JOB TERMINATE REASON]" in living.text(f"{crash}logs/certificate.txt")

    assert end(living, loud).startswith("end of analysis: done")
    log = living.text(f"{loud}logs/task-0.log")
    assert len(log.encode()) <= 1_100_000
    assert "00000000 xxx" in log

    assert end(living, endless).startswith("end of analysis: timed out")
    assert living.until(lambda: living.ended(endless).status, "the ledger to agree") is JobStatus.TIMED_OUT
    for root in (good, crash, loud, endless):
        living.ended(root)
    assert living.left() == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"this is not JSON", "JSON"),
        (b"[]", "submit file"),
        (
            b'{"dataname": "lab1/inputs/none.txt", "configname": "lab1/configs/none.json", "timestamp": "a1"}',
            "does not exist",
        ),
        (b'{"dataname": "lab2/inputs/a.txt", "configname": "lab1/configs/c.json", "timestamp": "a2"}', "lab2"),
    ],
)
def test_a_bad_submission_is_refused_in_words_before_anything_is_spent(living: Living, raw: bytes, words: str) -> None:
    before = {record.id for record in living.book.jobs(limit=1000)}
    living.submit(raw=raw)
    new = living.until(lambda: [r for r in living.book.jobs(limit=1000) if r.id not in before], "the refusal")[0]
    assert new.status is JobStatus.REJECTED
    assert new.cost == 0
    assert words in end(living, new.results.root)
    assert "[JOB TERMINATE REASON]" in living.text(new.results.certificate)
    assert living.left() == []


def test_a_submit_file_of_100_mb_is_refused_without_being_read(living: Living) -> None:
    before = {record.id for record in living.book.jobs(limit=1000)}
    living.submit(raw=b'{"dataname": "' + b"x" * 100_000_000 + b'"}')
    new = living.until(lambda: [r for r in living.book.jobs(limit=1000) if r.id not in before], "the refusal")[0]
    assert "larger than 1024 KiB" in end(living, new.results.root)
    watcher = living.find_all("watch")[0]
    assert watcher.memory_info().rss < 400e6


def test_bad_parameters_are_all_named(living: Living) -> None:
    said = end(living, living.submit(mode="fly", seconds="three"))
    assert said.startswith("end of analysis: rejected")
    assert "mode" in said
    assert "seconds" in said


def test_a_group_cannot_reach_outside_its_prefix(living: Living) -> None:
    """Invariant 8, with real credentials of the group's role."""
    role = f"arn:aws:iam::123456789012:role/e2e-group-{GROUP}"
    found = living.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    s3 = living.client("s3", found)
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/inputs/mine.txt", Body=b"x")
    for key in ("lab2/inputs/theirs.txt", "other.txt"):
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden|403"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden|403"):
        s3.get_object(Bucket=BUCKET, Key=f"{GROUP}/inputs/mine.txt")
