"""500 jobs that run at once, watched by one worker: its memory and its CPU. The cloud is a fake, the rest is real."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compiler.deployment import Deployment
from runner.certify import Certifier
from runner.cloud_values import DEPLOYMENT_TAG, Instance
from runner.engine import Engine
from runner.worker import AgentFile, Shop, Worker
from state.backend import LocalBackend
from state.database import sqlite_url
from state.errors import Place
from state.job import Ending, JobStatus
from state.ledger import open_ledger
from state.signature import Signer
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import a_job, a_source
from tests.fakes.terraform import FakeTerraform

MEMORY_MB, CORE = 200.0, 0.10


class IndexedCloud(FakeCloud):
    """Finds a job's machines and files as fast as EC2 and S3 do: the fake itself looks through all."""

    def __init__(self) -> None:
        super().__init__(now=lambda: datetime.now(UTC))
        self.of_job: dict[str, list[str]] = defaultdict(list)

    def instances(self, *, deployment: str, job: str | None = None) -> list[Instance]:
        if job is None:
            return super().instances(deployment=deployment)
        machines = self.store.machines
        return [machines[i] for i in self.of_job[job] if machines[i].tags[DEPLOYMENT_TAG] == deployment]

    def list(self, bucket: str, prefix: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        held = self.store.objects[bucket]
        names = [f"{prefix}{name}" for name in ("certificate.txt", "task-0.json")]
        status = [key for key in self.known.get(prefix, ()) if key in held]
        yield from (held[key][-1][0] for key in [*[n for n in names if n in held], *status])

    known: dict[str, list[str]] = {}  # noqa: RUF012  (one cloud per run)


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
        cloud.of_job[job_id].append(cloud.launch(deployment="demo", job=job_id))
        key = job.status_key(job.tasks[0])
        cloud.known[job.results.logs] = [key]
        said = {"status": "IN PROGRESS", "phase": "running", "stdout": {"0": "working"}}
        cloud.write(job.results.bucket, key, json.dumps(said).encode())
        return None


def measure(jobs: int, seconds: float) -> dict[str, float]:
    """Return megabytes, and CPU seconds per second, of a worker that watches so many jobs."""
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
        before, start, looks = process.cpu_times(), time.monotonic(), len(cloud.store.calls)
        threading.Event().wait(seconds)
        after, passed = process.cpu_times(), time.monotonic() - start
        used = after.user + after.system - before.user - before.system
        found = {
            "MB": process.memory_info().rss / 1e6,
            "core": used / passed,
            "calls": (len(cloud.store.calls) - looks) / passed,
            "threads": float(process.num_threads()),
        }
        print(json.dumps(found), flush=True)
        os._exit(0)  # 500 jobs that never end would be waited for


if __name__ == "__main__":
    import sys

    measure(int(sys.argv[1]), float(sys.argv[2]))
