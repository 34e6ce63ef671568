"""A platform that really runs: a project of its own, `mayfly up` as a process, and a client that is plain boto3."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psutil
from botocore.client import Config

from state.database import sqlite_url
from state.job import JobStatus
from state.ledger import Ledger, open_ledger
from state.record import JobRecord
from tests.crash.fault_proxy import FaultProxy
from tests.machine import is_gone

T = TypeVar("T")
HERE = Path(__file__).parent
BUCKET, GROUP, OUTSIDE = "e2e-toy", "lab1", "a-bucket-of-lab1"
DEPLOYMENT = """\
name: e2e
account: "123456789012"
region: us-east-1
"""
PROFILE = f"""\
id: lab1
title: Lab one
analyses: [toy]
budget: {{amount: 50}}
storage: {{outside_buckets: [{OUTSIDE}]}}
"""
BLUEPRINT = """\
id: toy
title: Does what its parameters say
stage: public
resources: [{instance_type: t3.small}, {instance_type: t3.medium}]
limits: {duration: 5, cost: 5, log_mb: 1}
inputs: {suffixes: [.txt]}
parameters:
  properties:
    mode: {enum: [copy, crash, loud, forever, told], default: copy}
    seconds: {type: number, minimum: 0, default: 0}
"""
PATIENCE_S = 150
"""How long a job of this file may take on a busy machine; a good one takes 30 s."""


class Living:
    """`mayfly up` on a project of its own, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home = folder, folder / ".mayfly" / "main"
        self.numbers = iter(range(10**6))
        self._write_project()
        self.process: subprocess.Popen[bytes] | None = None
        self.ledger: Ledger | None = None
        self.cloud_file = self.home / "cloud" / "cloud.json"
        self.cloud: dict[str, Any] = {}

    def _write_project(self) -> None:
        recipe = self.project / "blueprints" / "toy" / "environment"
        recipe.mkdir(parents=True)
        shutil.copy(HERE / "toy.py", recipe / "run.py")
        (recipe / "requirements.lock").write_text("")
        (recipe.parent / "blueprint.yaml").write_text(BLUEPRINT)
        (self.project / "users").mkdir()
        (self.project / "users" / "lab1.yaml").write_text(PROFILE)
        (self.project / "mayfly.yaml").write_text(DEPLOYMENT)

    # the platform

    def start(self) -> None:
        log = (self.project / "up.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mayfly.cli.main", "up"],
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.until(lambda: "Ctrl-C stops everything." in self.said() or self._fell(), "mayfly up to be up", 240)
        self.ledger = open_ledger(sqlite_url(self.home / "ledger.db"))
        self.cloud = json.loads(self.cloud_file.read_text())

    def _fell(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"mayfly up ended: {self.said()}")
        return False

    def said(self) -> str:
        return (self.project / "up.log").read_text()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()  # what it started ends with it
                self.process.wait()
            self.process = None
        if self.ledger is not None:
            self.ledger.engine.dispose()

    def find_all(self, name: str) -> list[psutil.Process]:
        """Return the processes of this platform that are `worker`, `watch`, `terraform` or a machine's `agent.pyz`."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            if name in words or any(Path(word).name == name for word in words[:5]):
                found.append(child)
        return found

    def has(self, name: str) -> bool:
        return bool(self.find_all(name))

    def tell(self) -> None:
        """Tell all analyses that wait for it to go on; those that work hear nothing of it."""
        for process in self.find_all("run.py"):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def freeze(self, name: str, count: int) -> list[psutil.Process] | None:
        """Stop so many processes of a name, so that none ends while somebody looks around; None when there are not."""
        found = self.find_all(name)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        if len([one for one in found if not is_gone(one.pid)]) == count:
            return found
        self.thaw(found)
        return None

    def thaw(self, frozen: list[psutil.Process]) -> None:
        """Let go on what was frozen, as far as it lives."""
        for process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self, name: str) -> int:
        """SIGKILL all processes of a name; return how many that were."""
        found = self.until(lambda: self.find_all(name), f"{name} to run")
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return len(found)

    @contextmanager
    def behind(self, proxy: FaultProxy) -> Iterator[None]:
        """Let a worker, and its Terraform, reach EC2 through a proxy for as long as the block lasts."""
        told = self.cloud_file.read_text()
        try:
            self._tell_worker(json.dumps({**self.cloud, "ec2_endpoint": proxy.endpoint}))
            yield
        finally:
            self._tell_worker(told)

    def _tell_worker(self, cloud: str) -> None:
        draft = self.cloud_file.with_suffix(".new")
        draft.write_text(cloud)
        draft.replace(self.cloud_file)
        self.kill("worker")
        self.until(lambda: self.has("worker"), "the next worker")

    # the client

    def client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        """Return a plain boto3 client of the platform, or of whoever the credentials belong to."""
        keys = credentials or {}
        cloud = self.cloud
        return boto3.client(
            service,
            region_name=cloud["region"],
            endpoint_url=cloud["ec2_endpoint"] if service == "ec2" else cloud["endpoint"],
            aws_access_key_id=keys.get("AccessKeyId", cloud["access_key"]),
            aws_secret_access_key=keys.get("SecretAccessKey", cloud["secret_key"]),
            aws_session_token=keys.get("SessionToken"),
            config=Config(proxies={}),
        )

    def submit(self, *, datasets: int = 1, raw: bytes | None = None, **parameters: Any) -> str:
        """Upload and submit as a plain client does; return the job's result folder."""
        s3, timestamp = self.client("s3"), f"t{next(self.numbers)}"
        keys = [f"{GROUP}/inputs/{timestamp}-{n}.txt" for n in range(datasets)]
        for key in keys:
            s3.put_object(Bucket=BUCKET, Key=key, Body=f"content of {key}".encode())
        config = f"{GROUP}/configs/{timestamp}.json"
        s3.put_object(Bucket=BUCKET, Key=config, Body=json.dumps(parameters).encode())
        body = json.dumps({"dataname": keys, "configname": config, "timestamp": timestamp}).encode()
        s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/submissions/{timestamp}_submit.json", Body=raw or body)
        return f"{GROUP}/results/job_{timestamp}_{BUCKET}_{timestamp}/"

    def keys(self, root: str) -> list[str]:
        listed = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=root).get("Contents", [])
        return [one["Key"].removeprefix(root) for one in listed]

    def text(self, key: str) -> str:
        body: bytes = self.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body.decode()

    def job(self, root: str) -> JobRecord:
        """Wait until the ledger knows the job of a result folder, and return it."""
        return self.until(lambda: self.look(root), f"{root} to be known")

    def look(self, root: str) -> JobRecord | None:
        """Return the job of a result folder, once the ledger knows it."""
        return next((record for record in self.book.jobs(limit=1000) if record.results.root == root), None)

    @property
    def book(self) -> Ledger:
        """The ledger of the running platform."""
        assert self.ledger is not None
        return self.ledger

    def reach(self, root: str, status: JobStatus) -> JobRecord:
        def reached() -> JobRecord | None:
            record = self.look(root)
            assert record is None or not record.status.is_final or record.status is status, record
            return record if record is not None and record.status is status else None

        return self.until(reached, f"{root} to be {status}")

    def ended(self, root: str) -> JobRecord:
        def over() -> JobRecord | None:
            record = self.look(root)
            return record if record is not None and record.status.is_final else None

        return self.until(over, f"{root} to end")

    def check_end(self, root: str, expected: JobStatus) -> None:
        """Hold a job to what must be so however it came to its end."""
        record = self.ended(root)
        assert record.status is expected, record.ending
        assert f"end of analysis: {expected}" in self.text(f"{root}process_results/end.txt")
        assert f"JOB {expected.upper()}" in self.text(f"{root}logs/certificate.txt")
        is_there = any(key.endswith("/copy.txt") for key in self.keys(root))
        # Of a job that failed some datasets may be done.
        assert expected is JobStatus.FAILED or is_there == (expected is JobStatus.DONE)
        endings = [line for line in self.book.story(record.id) if line.text == expected]
        assert len(endings) == 1
        usage = self.book.usage(record.id, record.changed)
        assert len({one.instance for one in usage}) == len(usage) >= 1
        assert record.cost == sum(one.cost for one in usage)

    def left(self) -> list[str]:
        """What EC2 itself says is still there."""
        ec2, tagged = self.client("ec2"), [{"Name": "tag-key", "Values": ["mayfly:job"]}]
        alive = ["pending", "running", "shutting-down", "stopping", "stopped"]
        found = ec2.describe_instances(Filters=[*tagged, {"Name": "instance-state-name", "Values": alive}])
        return [
            *(one["InstanceId"] for group in found["Reservations"] for one in group["Instances"]),
            *(one["VolumeId"] for one in ec2.describe_volumes(Filters=tagged)["Volumes"]),
            *(one["GroupId"] for one in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]),
        ]

    def until(self, found: Callable[[], T | None], what: str, seconds: float = PATIENCE_S) -> T:
        end, pause = time.monotonic() + seconds, threading.Event()
        while time.monotonic() < end:
            value = found()
            if value:
                return value
            pause.wait(0.1)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; {self.said()[-2000:]}")
