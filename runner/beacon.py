"""The platform's sign of life for its instances, and its word to stop or to run longer: one small object per job.

An instance that hears nothing for long ends itself, because then nobody collects its results and nobody ends it. What
the object says about stopping lets agents save what they have before they are taken down; its deadline is later than
the one they were started with when the job was granted more time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from compiler.job import iso
from runner.cloud_values import Cloud
from state.job import Job
from state.stops import Orders

EVERY = timedelta(seconds=60)
"""How often it is written; instances wait 60 times as long (compiler.job.SILENCE_S)."""


class Beacon:
    """Writes the signs of life of the jobs under way."""

    def __init__(self, cloud: Cloud, clock: Callable[[], datetime]) -> None:
        """Write through `cloud`."""
        self._cloud, self._clock = cloud, clock
        self._written: dict[str, tuple[datetime, Orders]] = {}
        self._lock = Lock()

    def shine(self, job: Job, orders: Orders) -> None:
        """Say that the platform lives, and what the job has to obey; not again when that was just said."""
        now, wish, deadline = self._clock(), orders.wish, orders.deadline
        with self._lock:
            known = self._written.get(job.id)
            if known is not None and known[1] == orders and now - known[0] < EVERY:
                return
        said: dict[str, object] = {"version": 1, "written": iso(now), "stop": None}
        if deadline is not None:
            said["deadline"] = iso(deadline)
        if wish is not None:
            said["stop"] = {"status": wish.status, "reason": wish.reason, "due": iso(wish.due)}
        body = json.dumps(said, indent=1, sort_keys=True) + "\n"
        self._cloud.write(job.results.bucket, job.results.platform, body.encode(), content_type="application/json")
        with self._lock:  # only now: what was refused is tried again at the next look
            self._written[job.id] = (now, orders)

    def forget(self, job_id: str) -> None:
        """Remember nothing of a job that is over."""
        with self._lock:
            self._written.pop(job_id, None)
