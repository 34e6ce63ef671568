"""Looking at a running job: its instances, and what their agents left in the bucket."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

from runner.cloud_values import Cloud, Instance, ObjectInfo
from runner.monitor import Signs
from state.chronicle import Attempt, Chronicle, Tried
from state.job import Job, Task

STATUS_LIMIT = 256 * 1024
REPORT_LIMIT = 32 * 1024 * 1024
"""Bytes read of what an instance wrote: it runs somebody's code, so nothing it says may fill our memory."""

log = logging.getLogger(__name__)


class Fleet:
    """A deployment's instances, asked for once for all jobs: EC2 allows 20 such calls a second, and many jobs run."""

    def __init__(self, cloud: Cloud, deployment: str) -> None:
        """Ask `cloud` for the instances of `deployment`."""
        self._cloud, self._deployment = cloud, deployment
        self._lock = Lock()
        self._asked = float("-inf")
        self._known: dict[str, list[Instance]] = {}

    def now(self, job: str) -> list[Instance]:
        """Return a job's instances as they are now."""
        return self._cloud.instances(deployment=self._deployment, job=job)

    def lately(self, job: str, *, max_age_s: float) -> list[Instance]:
        """Return a job's instances as they were at most `max_age_s` seconds ago, without those made since."""
        with self._lock:  # those who come while it asks want the same answer
            start = time.monotonic()
            if start - self._asked > max_age_s:
                known = defaultdict(list)
                for one in self._cloud.instances(deployment=self._deployment):
                    known[one.job].append(one)
                self._known, self._asked = dict(known), start
            return self._known.get(job, [])


class Observer:
    """The eyes on one job. Remembers what it has read, so that an unchanged file is not fetched again.

    Attributes:
        machines: all instances of the job that the last look saw, replaced ones too.
    """

    def __init__(self, cloud: Cloud, job: Job, fleet: Fleet, chronicle: Chronicle) -> None:
        """Look at `job` through `cloud` and `fleet`; `chronicle` knows which machine of a task is the present one."""
        self._cloud, self._job, self._fleet, self._chronicle = cloud, job, fleet, chronicle
        self._read: dict[str, tuple[str, dict[str, Any]]] = {}
        self.machines: list[Instance] = []

    def look(self, *, max_age_s: float = 0.0) -> list[Signs]:
        """Return the signs of every task, in order.

        Instances come first and files second: a report that is written between the two looks is seen, so a machine
        that reported and then ended is never taken for lost.

        Args:
            max_age_s: how old may be what is known of instances, seconds. One that is missing is asked for all the
                same: it may have been made since.
        """
        attempts = self._chronicle.attempts(self._job.id)
        current = {one.task: one for one in attempts}
        past = {one.instance for one in attempts if one is not current[one.task]}
        self.machines = self._instances(current, max_age_s)
        instances = newest(self.machines, without=past)
        keys = self._job.results
        files = {one.key: one for one in self._cloud.list(keys.bucket, keys.logs)}
        return [
            self._see(task, instances.get(task.number), files, current.get(task.number)) for task in self._job.tasks
        ]

    def _instances(self, current: Mapping[int, Attempt], max_age_s: float) -> list[Instance]:
        if max_age_s > 0:
            found = self._fleet.lately(self._job.id, max_age_s=max_age_s)
            there = {one.id for one in found}
            tries = [current.get(task.number) for task in self._job.tasks]
            if all(one and (one.outcome is not Tried.STARTED or one.instance in there) for one in tries):
                return found
        return self._fleet.now(self._job.id)

    def _see(
        self, task: Task, instance: Instance | None, files: Mapping[str, ObjectInfo], attempt: Attempt | None
    ) -> Signs:
        status_key, report_key = self._job.status_key(task), self._job.results.report(task.number)
        status_file, report_file = files.get(status_key), files.get(report_key)
        status = self._fetch(status_key, status_file.etag, STATUS_LIMIT) if status_file else {}
        report = self._fetch(report_key, report_file.etag, REPORT_LIMIT) if report_file else None
        heard = status_file is not None and self._is_ours(status, attempt)
        reported = report is not None and self._is_ours(report, attempt)
        return Signs(
            task=task,
            instance=instance,
            heard=status_file.modified if status_file and heard else None,
            status=status if heard else {},
            report=report if reported else None,
            reported=report_file.modified if report_file and reported else None,
            attempt=attempt,
        )

    def _is_ours(self, said: Mapping[str, Any], attempt: Attempt | None) -> bool:
        """Whether a file is of this job's present machine.

        What an earlier machine of the task wrote, before it was taken back, says nothing about the present one, and
        what another job left in the same folder says nothing at all.
        """
        run = attempt.run if attempt else 0
        return bool(said.get("run", run) == run and said.get("job", self._job.id) == self._job.id)

    def _fetch(self, key: str, etag: str, limit: int) -> dict[str, Any]:
        known = self._read.get(key)
        if known is None or known[0] != etag:
            content = parse(self._cloud.read(self._job.results.bucket, key, limit=limit))
            known = self._read[key] = (etag, content)
        return known[1]


def newest(instances: list[Instance], *, without: Collection[str | None] = ()) -> dict[int, Instance]:
    """Return the newest instance of each task, but for some; a task has several when one was replaced."""
    found = [one for one in instances if one.id not in without]
    return {one.task: one for one in sorted(found, key=lambda one: (one.launched, one.id))}


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that an instance wrote; one that is none counts as a failed report.

    A half-written file cannot be: S3 shows objects whole. What is unreadable was written by somebody's program.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    return {"status": "FAILED", "ending": "failed", "reason": "what its instance wrote about it cannot be read"}
