"""SIGKILL of real processes while jobs are provisioning, running and destroying: each ends, once, with nothing left."""

from __future__ import annotations

import pytest

from state.job import JobStatus
from tests.end_to_end.living import Living

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("victim", ["worker", "watch", "terraform"])
def test_killed_with_a_job_in_every_phase(living: Living, victim: str) -> None:
    running = living.submit(seconds=30)
    destroying = living.submit(mode="forever")
    record = living.reach(destroying, JobStatus.RUNNING)
    living.reach(running, JobStatus.RUNNING)
    living.until(lambda: not living.has("terraform"), "both applies to end")
    ledger = living.book
    ledger.request_cancel(record.id, "changed my mind", record.changed)
    provisioning = living.submit(seconds=1)
    living.until(
        lambda: (
            status(living, provisioning) is JobStatus.PROVISIONING
            and status(living, destroying) is JobStatus.DESTROYING
            and len(living.find_all("terraform")) == 2
        ),
        "one apply and one destroy beside each other",
    )
    assert status(living, running) is JobStatus.RUNNING
    assert living.kill(victim) == (2 if victim == "terraform" else 1)

    check_end(living, provisioning, JobStatus.DONE)
    check_end(living, running, JobStatus.DONE)
    check_end(living, destroying, JobStatus.CANCELLED)
    assert living.left() == []


def test_a_submission_that_nobody_watched_is_not_lost(living: Living) -> None:
    living.kill("watch")
    root = living.submit()
    check_end(living, root, JobStatus.DONE)
    assert living.left() == []


def status(living: Living, root: str) -> JobStatus | None:
    record = living.look(root)
    return record.status if record else None


def check_end(living: Living, root: str, expected: JobStatus) -> None:
    """What must hold however a job came to its end."""
    record = living.ended(root)
    assert record.status is expected, record.ending
    assert f"end of analysis: {expected}" in living.text(f"{root}process_results/end.txt")
    assert f"JOB {expected.upper()}" in living.text(f"{root}logs/certificate.txt")
    assert ("process_results/copy.txt" in living.keys(root)) == (expected is JobStatus.DONE)
    endings = [line for line in living.book.story(record.id) if line.text == expected]
    assert len(endings) == 1
    usage = living.book.usage(record.id, record.changed)
    assert len({one.instance for one in usage}) == len(usage) >= 1
    assert record.cost == sum(one.cost for one in usage)
