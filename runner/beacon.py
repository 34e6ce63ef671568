"""The platform's sign of life for its instances, and its word that they shall stop: one small object per job.

An instance that hears nothing for long ends itself, because then nobody collects its results and nobody ends it. What
the object says about stopping lets agents save what they have before they are taken down.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from compiler.job import iso
from runner.cloud_values import Cloud
from state.job import Job
from state.stops import StopRequest

EVERY = timedelta(seconds=60)
"""How often it is written; instances wait 60 times as long (compiler.job.SILENCE_S)."""


class Beacon:
    """Writes the signs of life of the jobs under way."""

    def __init__(self, cloud: Cloud, clock: Callable[[], datetime]) -> None:
        """Write through `cloud`."""
        self._cloud, self._clock = cloud, clock
        self._written: dict[str, tuple[datetime, str | None]] = {}
        self._lock = Lock()

    def shine(self, job: Job, wish: StopRequest | None) -> None:
        """Say that the platform lives, and whether the job shall stop; not again when that was just said."""
        now, stop = self._clock(), wish.reason if wish else None
        with self._lock:
            known = self._written.get(job.id)
            if known is not None and known[1] == stop and now - known[0] < EVERY:
                return
        said = {"version": 1, "written": iso(now), "stop": None}
        if wish is not None:
            said["stop"] = {"status": wish.status, "reason": wish.reason, "due": iso(wish.due)}
        body = json.dumps(said, indent=1, sort_keys=True) + "\n"
        self._cloud.write(job.results.bucket, job.results.platform, body.encode(), content_type="application/json")
        with self._lock:  # only now: what was refused is tried again at the next look
            self._written[job.id] = (now, stop)

    def forget(self, job_id: str) -> None:
        """Remember nothing of a job that is over."""
        with self._lock:
            self._written.pop(job_id, None)
