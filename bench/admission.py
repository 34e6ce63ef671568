"""From a full inbox to admitted jobs, and from a full queue to a full inbox.

Admission: that many submissions lie in the inbox; the clock runs while the watcher's own loop reads them, checks them,
reserves their money and keeps their jobs in a SQLite ledger on the disk. The objects come from memory, because an S3
in one Python process would be what is measured; with `--emulator N` as many are admitted through the embedded cloud,
too. Gate: the clock runs while the first hundred of them are handed to the engine. Burst: that many events lie in a
queue of the embedded cloud; the clock runs until each is written down and its message deleted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import boto3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.blueprint import Limits
from compiler.model import Platform
from compiler.profile import Budget
from mayfly.localcloud import LocalCloud
from runner.certify import Certifier
from runner.cloud import AwsCloud
from runner.cloud_values import Cloud
from runner.desk import Desk
from runner.engine import Engine
from runner.gatekeeper import caps_of
from runner.lookups import Lookups
from runner.watcher import Post, Watcher
from state.database import sqlite_url
from state.dispatch import Gate
from state.inbox import Inbox
from state.ledger import Ledger, open_ledger
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import a_blueprint, a_platform

ADMITTED_PER_S, BURST_S = 200, 10
"""The figures of the issue that asked for this."""
BUCKET, QUEUE = "demo-pca", "demo-events"
GROUPS = 20


def main() -> int:
    """Measure, and say which figures hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--emulator", type=int, default=0, help="admit as many through the embedded cloud, too")
    arguments = parser.parse_args()
    held: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        rate, handed = admit_from_memory(Path(folder), arguments.submissions)
        print(f"admission, objects in memory   {arguments.submissions:6} jobs    {rate:7.0f} /s")
        print(f"gate, DBOS on SQLite              100 jobs    {handed:7.0f} /s")
        held[f"admission of at least {ADMITTED_PER_S} jobs a second"] = rate >= ADMITTED_PER_S
        with LocalCloud.start(Path(folder) / "cloud", Path(folder) / "images") as local:
            took, news = record_burst(Path(folder), local, arguments.events)
            print(f"burst, queue of the emulator   {news:6} events  {took:7.2f} s")
            held[f"every one of {arguments.events} events is recorded"] = news == arguments.events
            held[f"they are recorded within {BURST_S} s"] = took < BURST_S * arguments.events / 1000
            if arguments.emulator:
                rate = admit_through(Path(folder), local, arguments.emulator)
                print(f"admission, S3 of the emulator  {arguments.emulator:6} jobs    {rate:7.0f} /s")
    for claim, holds in held.items():
        print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return 0 if all(held.values()) else 1


def the_platform() -> Platform:
    """Return a platform of many groups with more money than they can spend."""
    platform = a_platform(a_blueprint(limits=Limits(duration_s=600, instances=100)))
    lab = replace(platform.groups["lab1"], budget=Budget(amount=Decimal(10**6)))
    return replace(platform, groups={f"lab{n}": replace(lab, id=f"lab{n}") for n in range(GROUPS)})


def open_watcher(ledger: Ledger, cloud: Cloud) -> Watcher:
    """Return a watcher as `mayfly watch` puts it together."""
    platform = the_platform()
    lookups = Lookups(cloud, lambda _, __: "d1", clock=now, version=lambda _, __: "v1")
    certifier = Certifier(ledger=ledger, cloud=cloud, clock=now, deployment="demo")
    inbox = Inbox(ledger.engine)
    desk = Desk(ledger=ledger, inbox=inbox, cloud=cloud, certifier=certifier, lookups=lookups, clock=now)
    return Watcher(Post(inbox=inbox, cloud=cloud, platform=lambda: platform, desk=desk, clock=now, poll_s=0))


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def fill(cloud: Cloud, count: int) -> None:
    """Upload datasets, configs and submissions, the groups taking turns."""
    for number in range(GROUPS):
        cloud.write(BUCKET, f"lab{number}/inputs/a.npy", b"x" * 10)
        cloud.write(BUCKET, f"lab{number}/configs/c.yaml", b"n_components: 3\n")
    for number in range(count):
        group = f"lab{number % GROUPS}"
        body = {"dataname": f"{group}/inputs/a.npy", "configname": f"{group}/configs/c.yaml", "timestamp": f"t{number}"}
        cloud.write(BUCKET, f"{group}/submissions/{number}_submit.json", json.dumps(body).encode())


def admit_all(ledger: Ledger, cloud: Cloud, count: int) -> float:
    """Return how many submissions a second are admitted, once they are in the inbox."""
    watcher = open_watcher(ledger, cloud)
    found = watcher.reconcile()
    start, used = time.monotonic(), time.process_time()
    while watcher.work():
        pass
    took, used = time.monotonic() - start, time.process_time() - used
    print(f"  (CPU: {used / count * 1000:.2f} ms a job)")
    admitted = len(ledger.jobs(limit=count + 1))
    if not found == admitted == count:
        raise SystemExit(f"{count} submissions, {found} found, {admitted} jobs")
    return count / took


def admit_from_memory(folder: Path, count: int) -> tuple[float, float]:
    """Return how many jobs a second are admitted, and how many are handed to the engine."""
    ledger, cloud = open_ledger(sqlite_url(folder / "memory.db")), FakeCloud(now=now)
    cloud.make_bucket(BUCKET)
    cloud.register_image(name="iae-d1", digest="d1", architecture="x86_64")
    fill(cloud, count)
    rate = admit_all(ledger, cloud, count)
    engine = Engine(ledger.engine)
    engine.migrate()
    start = time.monotonic()
    gate, passed = Gate(ledger.engine, engine.enqueue), 0
    while some := gate.open(caps_of(the_platform()), now()):
        passed += len(some)
    took = time.monotonic() - start
    engine.stop()
    ledger.engine.dispose()
    return rate, passed / took


def record_burst(folder: Path, local: LocalCloud, count: int) -> tuple[float, int]:
    """Return how long a queue full of events takes to be written down, seconds, and how many were."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=local.settings.endpoint,
        region_name=local.settings.region,
        aws_access_key_id=local.settings.access_key,
        aws_secret_access_key=local.settings.secret_key,
    )
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    for start in range(0, count, 10):
        numbers: Sequence[int] = range(start, min(start + 10, count))
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": event(n)} for n in numbers])
    ledger = open_ledger(sqlite_url(folder / "burst.db"))
    watcher = open_watcher(ledger, AwsCloud(local.settings))
    began = time.monotonic()
    while watcher.listen(wait_s=0):
        pass
    took = time.monotonic() - began
    news = len(Inbox(ledger.engine).pending(count + 1))
    ledger.engine.dispose()
    return took, news


def event(number: int) -> str:
    """Return S3's event of one upload."""
    key = f"lab{number % GROUPS}/submissions/{number}_submit.json"
    return json.dumps({"detail": {"bucket": {"name": BUCKET}, "object": {"key": key, "version-id": f"v{number}"}}})


def admit_through(folder: Path, local: LocalCloud, count: int) -> float:
    """Return how many jobs a second are admitted with the embedded cloud's S3 and EC2."""
    cloud = AwsCloud(local.settings)
    s3 = boto3.client(
        "s3",
        endpoint_url=local.settings.endpoint,
        region_name=local.settings.region,
        aws_access_key_id=local.settings.access_key,
        aws_secret_access_key=local.settings.secret_key,
    )
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    cloud.register_image(name="iae-d1", digest="d1", architecture="x86_64")
    fill(cloud, count)
    ledger = open_ledger(sqlite_url(folder / "emulator.db"))
    rate = admit_all(ledger, cloud, count)
    ledger.engine.dispose()
    return rate


if __name__ == "__main__":
    sys.exit(main())
