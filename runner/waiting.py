"""Why a job is not further than it is, and what comes next: the answer to `mayfly jobs why`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from state.dispatch import place_of
from state.job import JobStatus
from state.ledger import Ledger
from state.record import JobRecord

_NEXT = {
    JobStatus.PROVISIONING: "its machines come up, fetch their data and start to work",
    JobStatus.RUNNING: "its machines upload their results and end",
    JobStatus.UPLOADING: "the results are checked and the machines are destroyed",
    JobStatus.DESTROYING: "its cost is settled and its certificate is written",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a job stands.

    Attributes:
        status: its status.
        why: what it waits for or does, a sentence.
        ahead: jobs of its group that go before it; None when it does not wait for its turn.
        waiting: jobs of all groups that wait for their turn; None when it does not.
        since: when it came to where it is, UTC.
        then: what comes next, a clause; empty when nothing does.
    """

    status: JobStatus
    why: str
    ahead: int | None
    waiting: int | None
    since: datetime
    then: str


def explain(ledger: Ledger, record: JobRecord) -> Explanation:
    """Say what a job waits for. Changes nothing."""
    stop = ledger.stop_request(record.id)
    if record.status.is_final:
        why, then = record.ending.reason if record.ending else "", ""
        return Explanation(
            status=record.status, why=why, ahead=None, waiting=None, since=record.ended or record.changed, then=then
        )
    if record.status is JobStatus.ADMITTED:
        place = place_of(ledger.engine, record.id)
        if record.enqueued is None:
            why = record.waits or "its turn: nobody has looked at it yet. Does the watcher run?"
            words = f"It waits for {why}"
            ahead, total, since = place.ahead, place.total, record.changed
        else:
            others = place.with_engine - 1
            free = f"a free worker: {others} other {'job' if others == 1 else 'jobs'} as well"
            words = f"It waits for {record.waits or free}"
            ahead, total, since = None, None, record.enqueued
        then = "its workspace is written and its machines are made"
        if stop is not None:
            words, then = f"It is to be stopped ({stop.reason})", "it ends without any machine"
        return Explanation(status=record.status, why=_end(words), ahead=ahead, waiting=total, since=since, then=then)
    words = f"It waits for {record.waits}" if record.waits else f"It does not wait: it is {record.status}"
    then = _NEXT[record.status]
    if stop is not None:
        words = f"It is to be stopped by {stop.due:%H:%M:%S} UTC ({stop.reason})"
        then = "its machines are destroyed; what they saved is kept"
    return Explanation(status=record.status, why=_end(words), ahead=None, waiting=None, since=record.changed, then=then)


def _end(words: str) -> str:
    return words if words.endswith((".", "?", ".)")) else f"{words}."
