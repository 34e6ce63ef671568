"""The machines of the distant cloud: they download nothing and compute nothing, but they say what real agents say."""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import sqlalchemy as sa

from runner.cloud_values import Instance
from state.errors import MayflyError
from state.job import Job, Task
from tests.fakes.cloud import FakeCloud

LOOK_S = 0.03
BODY = b"result"
BAD = "bad"
Lookup = Callable[[str], Job]

log = logging.getLogger(__name__)


class Death(StrEnum):
    """Where an agent dies; a dataset whose name has one of these words is its agent's end.

    With a killed agent its machine goes, too: the bootstrap turns it off. `SILENT` is one that hangs, and so stays.
    """

    HELLO = "before-hello"
    WORK = "at-work"
    SILENT = "silent"
    HALF = "half-uploaded"
    REPORT = "before-report"


class Actors:
    """Every machine that runs says hello, works for a while, uploads, reports, and shuts itself down, or dies before.

    Attributes:
        deaths: how many agents have died, and where.
        mourned: the jobs that they worked for.
    """

    def __init__(self, cloud: FakeCloud, lookup: Lookup, *, work_s: float = 0.3) -> None:
        self._cloud, self._lookup, self._work_s = cloud, lookup, work_s
        self.deaths: Counter[str] = Counter()
        self.mourned: set[str] = set()
        self._born: dict[str, float] = {}
        self._greeted: set[str] = set()
        self._hanging: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="actors", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._cloud.store.changed:
                alive = [one for one in self._cloud.store.machines.values() if not one.is_gone]
            for machine in alive:
                try:
                    self._act(machine)
                except (MayflyError, sa.exc.SQLAlchemyError) as error:  # the ledger is being restarted
                    log.info("%s waits: %s", machine.id, error)

    def _act(self, machine: Instance) -> None:
        age = time.monotonic() - self._born.setdefault(machine.id, time.monotonic())
        if machine.id in self._hanging:
            return
        job = self._lookup(machine.job)
        task = job.tasks[machine.task]
        death = next((one for one in Death if one in task.name), None)
        if machine.id not in self._greeted:
            if death is Death.HELLO:
                self._die(machine, death)
                return
            self._speak(machine, job, task)
            self._greeted.add(machine.id)
            if death is Death.SILENT:
                self._die(machine, death)
        elif age > self._work_s:
            self._finish(machine, job, task, death)

    def _speak(self, machine: Instance, job: Job, task: Task) -> None:
        said = {"status": "IN PROGRESS", "phase": "running", "stdout": {"0": "hello"}, "instance": machine.id}
        self._cloud.write(job.results.bucket, job.status_key(task), json.dumps({**said, "job": job.id}).encode())

    def _finish(self, machine: Instance, job: Job, task: Task, death: Death | None) -> None:
        if death is Death.WORK:
            self._die(machine, death)
            return
        good = BAD not in task.name
        bucket, crc = job.results.bucket, f"{zlib.crc32(BODY):08x}"
        outputs = []
        for name in ("first.txt", "second.txt") if good else ():
            self._cloud.write(bucket, job.results_folder(task) + name, BODY)
            outputs.append({"path": name, "size": len(BODY), "crc32": crc})
            if death is Death.HALF:
                self._die(machine, death)
                return
        if death is Death.REPORT:
            self._die(machine, death)
            return
        report = {
            "version": 1,
            "job": job.id,
            "task": task.number,
            "status": "SUCCESS" if good else "FAILED",
            "ending": "succeeded" if good else "failed",
            "reason": "" if good else "the dataset is bad",
            "outputs": outputs,
            "instance": machine.id,
        }
        with self._cloud.store.changed:  # a machine that was terminated in between says nothing any more
            if not self._cloud.store.machines[machine.id].is_gone:
                self._cloud.write(bucket, job.results.report(task.number), json.dumps(report).encode())
                self._cloud.end(machine.id)

    def _die(self, machine: Instance, death: Death) -> None:
        with self._cloud.store.changed:
            if self._cloud.store.machines[machine.id].is_gone:
                return
            self.deaths[death] += 1
            self.mourned.add(machine.job)
            if death is Death.SILENT:
                self._hanging.add(machine.id)
            else:
                self._cloud.end(machine.id)
