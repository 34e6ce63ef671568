"""500 jobs that run at once, watched by one worker: its memory and its CPU. The cloud is a fake, the rest is real."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compiler.deployment import Deployment
from runner.capacity import first_attempts
from runner.certify import Certifier
from runner.cloud_values import Instance, ObjectInfo
from runner.engine import Engine
from runner.worker import AgentFile, Shop, Worker
from state.backend import LocalBackend
from state.chronicle import Tried
from state.database import sqlite_url
from state.errors import Place
from state.job import Ending, JobStatus
from state.ledger import open_ledger
from state.signature import Signer
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import a_job, a_source
from tests.fakes.terraform import FakeTerraform

MEMORY_MB, CORE = 200.0, 0.10


TELLS_S = 5
"""How often an agent writes its status anew, seconds."""


class IndexedCloud(FakeCloud):
    """Finds a job's machines and files as fast as EC2 and S3 do, and has agents that say something new all the time.

    The fake itself looks through all it has, and the agents would need a process each.
    """

    def __init__(self) -> None:
        super().__init__(now=lambda: datetime.now(UTC))
        self.of_job: dict[str, list[str]] = defaultdict(list)
        self.status: dict[str, str] = {}

    def instances(self, *, deployment: str, job: str | None = None) -> list[Instance]:
        self.store.calls.append(("instances", job or deployment))
        if job is None:
            return list(self.store.machines.values())
        return [self.store.machines[one] for one in self.of_job[job]]

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        self.store.calls.append(("list", prefix))
        now = datetime.now(UTC)
        etag = str(int(now.timestamp()) // TELLS_S)
        held = self.store.objects[bucket]
        yield from (held[key][-1][0] for name in ("certificate.txt",) if (key := f"{prefix}{name}") in held)
        if (key := self.status.get(prefix)) is not None:
            yield ObjectInfo(bucket=bucket, key=key, size=100, etag=etag, version="", modified=now)

    def read(self, bucket: str, key: str, **_: object) -> bytes:
        self.store.calls.append(("read", f"{bucket}/{key}"))
        line = f"working since {int(time.time()) // TELLS_S}"
        return json.dumps({"status": "IN PROGRESS", "phase": "running", "stdout": {"0": line}}).encode()


class OnlyMonitor(Worker):
    """A worker whose machines are up at once, so that there is nothing but watching."""

    def prepare(self, job_id: str) -> Ending | None:
        now = self.shop.clock()
        self.shop.ledger.advance(job_id, JobStatus.PROVISIONING, now)
        self.shop.ledger.set_deadline(job_id, now + timedelta(hours=1))
        return None

    def provision(self, job_id: str) -> Ending | None:
        cloud = self.shop.cloud
        assert isinstance(cloud, IndexedCloud)
        job = self.shop.ledger.job(job_id).admitted
        machine = cloud.launch(deployment="demo", job=job_id)
        cloud.of_job[job_id].append(machine)
        cloud.status[job.results.logs] = job.status_key(job.tasks[0])
        first = [
            replace(one, outcome=Tried.STARTED, instance=machine) for one in first_attempts(job, self.shop.clock())
        ]
        self.shop.chronicle.place(first)
        return None


def measure(jobs: int, seconds: float) -> None:
    """Print megabytes, and CPU seconds per second, of a worker that watches so many jobs, as JSON."""
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as name:
        folder = Path(name)
        ledger, cloud = open_ledger(sqlite_url(folder / "ledger.db")), IndexedCloud()
        for bucket in ("demo-pca", "demo-platform"):
            cloud.make_bucket(bucket)
        engine = Engine(ledger.engine)
        engine.migrate()
        now = datetime.now(UTC)
        for number in range(jobs):
            job = a_job(number, submitted=now)
            hand_over = partial(engine.enqueue, job_id=job.id, group=job.group)
            ledger.admit(
                job,
                source=a_source(number),
                bound=Decimal(1),
                cap=Decimal(10**6),
                since=None,
                at=now,
                enqueue=hand_over,
            )
        deployment = Deployment(
            name="demo", account="123456789012", region="us-east-1", place=Place(file="mayfly.yaml")
        )
        signer = Signer(key=Ed25519PrivateKey.generate())
        clock = lambda: datetime.now(UTC)  # noqa: E731
        life = OnlyMonitor(
            Shop(
                ledger=ledger,
                cloud=cloud,
                terraform=FakeTerraform(),
                certifier=Certifier(ledger=ledger, cloud=cloud, clock=clock, deployment="demo", signer=signer),
                deployment=deployment,
                backend=LocalBackend(folder=folder),
                module={},
                agent=AgentFile(path=folder / "agent", sha256="ab" * 32),
                jobs=folder / "jobs",
                clock=clock,
                wait=time.sleep,
            )
        )
        engine.start(life, per_group=jobs, at_once=jobs)
        running = [JobStatus.RUNNING]
        while len(ledger.jobs(statuses=running, limit=jobs)) < jobs:
            threading.Event().wait(1)
        threading.Event().wait(5)  # the last start is behind it
        process = psutil.Process()
        cloud.store.calls.clear()
        before, start = process.cpu_times(), time.monotonic()
        threading.Event().wait(seconds)
        after, passed = process.cpu_times(), time.monotonic() - start
        used = after.user + after.system - before.user - before.system
        counts = Counter(method for method, _ in cloud.store.calls)
        found = {
            "MB": process.memory_info().rss / 1e6,
            "core": used / passed,
            "calls a second": {name: round(count / passed, 1) for name, count in counts.items()},
            "threads": float(process.num_threads()),
        }
        print(json.dumps(found), flush=True)
        os._exit(0)  # 500 jobs that never end would be waited for


if __name__ == "__main__":
    import sys

    measure(int(sys.argv[1]), float(sys.argv[2]))
