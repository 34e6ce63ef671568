"""The herald: writes the certificates of jobs that wait, so that who reads only the bucket knows what they wait for.

What waits belongs to nobody yet: the desk has decided, no worker has begun. Many may wait, so a few are told at a time,
those first that will run first, and each again only when it waits for something else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Protocol

from compiler.deployment import PlatformLimits
from state.dispatch import Waiter, under_way, waiters
from state.errors import CloudError
from state.job import JobStatus
from state.ledger import Ledger

EVERY_S = 2.0
AT_ONCE = 20
"""Certificates in one round: a few of many thousands, and no load for a machine or a store."""
SHORT = timedelta(seconds=3)
"""A job that has waited for less than this is most often about to begin."""

log = logging.getLogger(__name__)


class Certifier(Protocol):
    """Tells a job's story to its user."""

    def write(self, job_id: str) -> None:
        """Write the certificate as it stands."""

    def close(self, job_id: str) -> JobStatus:
        """Write the certificate and the end marker."""


@dataclass(slots=True, kw_only=True)
class Herald:
    """Tells of jobs that wait.

    Attributes:
        ledger: the durable record.
        certifier: writes certificates.
        limits: returns what the engine may do at once, as the platform's files say now.
        clock: returns the time, UTC.
        told: what each job that waits was last said to wait for.
    """

    ledger: Ledger
    certifier: Certifier
    limits: Callable[[], PlatformLimits]
    clock: Callable[[], datetime]
    told: dict[str, str] = field(default_factory=dict)

    def go_round(self) -> int:
        """Write the certificates that are due, a few at most. Return how many."""
        engine, limits = self.ledger.engine, self.limits()
        waiting = {one.job: one for one in waiters(engine, before=self.clock() - SHORT)}
        busy = under_way(engine) if any(one.enqueued for one in waiting.values()) else {}
        self.told = {job: words for job, words in self.told.items() if job in waiting}
        says = {job: place_in_engine(one, limits, busy) if one.enqueued else one.waits for job, one in waiting.items()}
        news = [job for job, words in says.items() if self.told.get(job) != words]
        news.sort(key=self.told.__contains__)  # who was never told anything goes first
        for job in news[:AT_ONCE]:
            if waiting[job].enqueued and waiting[job].waits != says[job]:
                self.ledger.set_waiting(job, says[job] or None)
            self.told[job] = says[job]
            try:
                self.certifier.write(job)
            except CloudError as error:
                if error.retryable:
                    del self.told[job]
                    raise
                log.warning("job %s: it could not be told that it waits: %s", job, error)
                continue
            self._mind(job)
        return len(news[:AT_ONCE])

    def _mind(self, job_id: str) -> None:
        """Make good what was written over, should the job have ended in the very moment."""
        record = self.ledger.job(job_id)
        if record.status.is_final:
            self.certifier.close(job_id)


def place_in_engine(one: Waiter, limits: PlatformLimits, busy: Mapping[str, int]) -> str:
    """Return which of the engine's limits a job waits for, a clause; empty when it only waits for a free worker.

    Args:
        one: a job that was handed to the engine.
        limits: how many jobs the engine runs at once.
        busy: how many it runs now, by group.
    """
    mine, total = busy.get(one.group, 0), sum(busy.values())
    if mine >= limits.jobs_per_group:
        return f"a place in the engine: {mine} of {limits.jobs_per_group} jobs of {one.group} are under way"
    if total >= limits.jobs:
        return f"a place in the engine: {total} of {limits.jobs} jobs of the platform are under way"
    return ""


def keep_telling(herald: Herald, stop: Event, *, every_s: float = EVERY_S) -> None:
    """Go round again and again until `stop` is set."""
    while not stop.wait(every_s):
        try:
            herald.go_round()
        except CloudError as error:
            log.warning("who waits could not be told: %s", error)
            stop.wait(10 * every_s)
        except Exception:  # a database that is away for a moment must not silence it for good
            log.exception("who waits could not be told")
