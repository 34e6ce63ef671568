"""The machines of the distant cloud: they download nothing and compute nothing, but they say what real agents say."""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections.abc import Callable

import sqlalchemy as sa

from runner.cloud_values import Instance
from state.errors import MayflyError
from state.job import Job
from tests.fakes.cloud import FakeCloud

LOOK_S = 0.03
BODY = b"result"
Lookup = Callable[[str], Job]

log = logging.getLogger(__name__)


class Actors:
    """Every machine that runs says hello, works for a while, uploads, reports, and shuts itself down."""

    def __init__(self, cloud: FakeCloud, lookup: Lookup, *, work_s: float = 0.3) -> None:
        self._cloud, self._lookup, self._work_s = cloud, lookup, work_s
        self._born: dict[str, float] = {}
        self._greeted: set[str] = set()
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
        if machine.id not in self._greeted:
            self._speak(machine, "running")
            self._greeted.add(machine.id)
        elif age > self._work_s:
            self._finish(machine)

    def _speak(self, machine: Instance, phase: str) -> None:
        job = self._lookup(machine.job)
        said = {"status": "IN PROGRESS", "phase": phase, "stdout": {"0": "hello"}, "instance": machine.id}
        self._cloud.write(job.results.bucket, job.status_key(job.tasks[machine.task]), json.dumps(said).encode())

    def _finish(self, machine: Instance) -> None:
        job = self._lookup(machine.job)
        task = job.tasks[machine.task]
        good = "bad" not in task.name
        bucket, crc = job.results.bucket, f"{zlib.crc32(BODY):08x}"
        outputs = []
        if good:
            self._cloud.write(bucket, job.results_folder(task) + "out.txt", BODY)
            outputs = [{"path": "out.txt", "size": len(BODY), "crc32": crc}]
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
