"""One worker, one admitted job, and a cloud in which a fake Terraform makes and takes instances as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compiler.deployment import Deployment
from runner.certify import Certifier
from runner.worker import AgentFile, Shop, Worker
from state.backend import LocalBackend
from state.chronicle import Chronicle
from state.database import sqlite_url
from state.errors import Place, TerraformError
from state.job import Job, JobStatus
from state.ledger import open_ledger
from state.signature import Signer
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import NOW, a_source
from tests.fakes.terraform import FakeTerraform

DEPLOYMENT = Deployment(name="demo", account="123456789012", region="us-east-1", place=Place(file="mayfly.yaml"))
MODULE = {"main.tf": 'resource "aws_instance" "task" {\n  for_each = var.tasks\n}\n', "variables.tf": ""}
PATIENCE_S = 60
NO_CAPACITY = "InsufficientInstanceCapacity: We currently do not have sufficient {} capacity"


class Stage:
    """Lets Terraform make what `refuses` does not refuse, and the machines do what `on_machine` says.

    The machines of `quick` tasks have ended before Terraform looks at them.
    """

    def __init__(self, folder: Path, job: Job, *, look_s: float = 0.01) -> None:
        self.job, self.now = job, NOW
        self.on_machine: Callable[[int, str], object] = lambda *_: None
        self.refuses: Callable[[dict[str, Any]], str] = lambda _: ""
        self.quick: set[int] = set()
        self.cloud = FakeCloud(now=lambda: self.now)
        for bucket in ("demo-pca", "demo-platform"):
            self.cloud.make_bucket(bucket)
        self.ledger = open_ledger(sqlite_url(folder / "ledger.db"))
        self.ledger.admit(
            job, source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None
        )
        self.chronicle = Chronicle(self.ledger.engine)
        self.made: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.terraform = FakeTerraform(on_apply=self._apply, on_destroy=self._destroy)
        self.signer = Signer(key=Ed25519PrivateKey.generate())
        agent = folder / "agent.pyz"
        agent.write_bytes(b"agent")
        self.worker = Worker(
            Shop(
                ledger=self.ledger,
                cloud=self.cloud,
                terraform=self.terraform,
                certifier=Certifier(
                    ledger=self.ledger, cloud=self.cloud, clock=lambda: self.now, deployment="demo", signer=self.signer
                ),
                deployment=DEPLOYMENT,
                backend=LocalBackend(folder=folder),
                module=MODULE,
                agent=AgentFile(path=agent, sha256="ab" * 32),
                jobs=folder / "jobs",
                clock=lambda: self.now,
                wait=self.pass_time,
                look_s=look_s,
            )
        )

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _apply(self, root: Path) -> dict[str, Any]:
        """Make every machine that is missing in the state and not refused; keep those when another is refused."""
        tasks = json.loads((root / "job.auto.tfvars.json").read_text())["tasks"]
        state = self.terraform.output(root).get("instances", {})
        refused, tainted = [], []
        for number, task in tasks.items():
            if number in state:
                continue
            self.asked.append({"task": int(number), **{k: v for k, v in task.items() if k != "user_data"}})
            if why := self.refuses(self.asked[-1]):
                refused.append(why)
                continue
            kind = task.get("instance_type", self.job.hardware.instance_type)
            spot = bool(task.get("spot"))
            one = self.cloud.launch(deployment="demo", job=self.job.id, task=int(number), kind=kind, spot=spot)
            state[number] = one
            self.made.append(one)
            self.on_machine(int(number), one)
            if int(number) in self.quick:
                self.cloud.end(one)
                tainted.append(number)
                refused.append(f"reading EC2 Instance ({one}): terminated")
        if refused:
            self.terraform.save_partial(root, {"instances": state}, tainted=tainted)
            raise TerraformError("apply failed", command="apply", diagnostics=refused)
        return {"instances": state}

    def _destroy(self, _: Path) -> None:
        for one in self.cloud.instances(deployment="demo", job=self.job.id):
            self.cloud.end(one.id)

    def report(self, number: int = 0, *, files: dict[str, bytes] | None = None, **facts: Any) -> None:
        """Write what an agent writes at its end."""
        task = self.job.tasks[number]
        for name, body in (files or {}).items():
            self.cloud.write("demo-pca", self.job.results_folder(task) + name, body)
        said = {"status": "SUCCESS", "ending": "succeeded", "reason": "done", "outputs": []} | facts
        self.cloud.write("demo-pca", self.job.results.report(number), json.dumps(said).encode())

    def text(self, key: str) -> str:
        return self.cloud.read("demo-pca", key).decode()

    @property
    def certificate(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(self.job.results.certificate_json))
        return found

    def run(self) -> JobStatus:
        """Go through the whole life, as the engine does."""
        job = self.job.id
        ending = self.worker.prepare(job) or self.worker.provision(job) or asyncio.run(self._monitor())
        ending = self.worker.collect(job, ending)
        self.worker.destroy(job, ending)
        self.worker.settle(job)
        self.worker.certify(job)
        return self.ledger.job(job).status

    async def _monitor(self) -> Any:
        return await asyncio.wait_for(self.worker.monitor(self.job.id), PATIENCE_S)

    def watch_until(self, seen: Callable[[], bool]) -> None:
        """Let a worker watch the job, which goes on, until something is seen; then the worker dies."""

        async def watch() -> None:
            watching = asyncio.create_task(self.worker.monitor(self.job.id))
            async with asyncio.timeout(PATIENCE_S):
                while not (seen() or watching.done()):
                    await asyncio.wait({watching}, timeout=0.01)
            assert not watching.done(), watching.result()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

        asyncio.run(watch())

    @property
    def left(self) -> list[str]:
        return [one.id for one in self.cloud.leftovers(deployment="demo")]
