"""A cloud in memory that keeps the contract of tests/contracts/test_cloud_contract.py, with faults on demand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from runner.cloud import (
    DEPLOYMENT_TAG,
    TEXT,
    CloudSettings,
    Instances,
    Leftover,
    LeftoverKind,
    Leftovers,
    Messages,
    ObjectInfo,
    OnBytes,
)
from runner.fingerprint import fingerprint
from state.errors import CloudError
from tests.fakes.scene import Scene

ORDER = list(LeftoverKind)


class FakeCloud(Scene):
    """The contract of runner.cloud.Cloud, on top of what a test needs to set a scene."""

    # objects

    def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo | None:
        self._enter("head", key)
        self._allow("get", key)
        found = self._find(bucket, key, version)
        return found[0] if found else None

    def read(self, bucket: str, key: str, *, limit: int | None = None, version: str | None = None) -> bytes:
        self._enter("read", key)
        self._allow("get", key)
        self._bucket(bucket)
        found = self._find(bucket, key, version)
        if found is None:
            raise CloudError(f"s3://{bucket}/{key} does not exist", service="s3", code="NoSuchKey")
        return found[1][:limit]

    def checksum(self, bucket: str, key: str) -> str | None:
        self._enter("checksum", key)
        found = self._find(bucket, key, None)
        return f"{zlib.crc32(found[1]):08x}" if found else None

    def write(self, bucket: str, key: str, body: bytes, *, content_type: str = TEXT) -> ObjectInfo:
        self._enter("write", key)
        return self._put(bucket, key, body, content_type)

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        self._enter("list", prefix)
        self._allow("list", prefix)
        with self.store.changed:
            found = sorted(k for k, v in self._bucket(bucket).items() if v and k.startswith(prefix))
            infos = [self._bucket(bucket)[k][-1][0] for k in found]
        for info in infos:
            yield replace(info, version="")

    def versions(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        self._enter("versions", prefix)
        self._allow("list", prefix)
        with self.store.changed:
            yield from [v[-1][0] for k, v in sorted(self._bucket(bucket).items()) if v and k.startswith(prefix)]

    def delete(self, bucket: str, key: str) -> None:
        self._enter("delete", key)
        self._allow("delete", key)
        with self.store.changed:
            self._bucket(bucket).pop(key, None)

    def upload(self, path: Path, bucket: str, key: str, *, on_bytes: OnBytes | None = None) -> None:
        self._enter("upload", key)
        body = path.read_bytes()
        self._put(bucket, key, body, "application/octet-stream", etag=fingerprint(path))
        if on_bytes:
            on_bytes(len(body))

    def download(self, bucket: str, key: str, path: Path, *, on_bytes: OnBytes | None = None) -> None:
        self._enter("download", key)
        body = self.read(bucket, key)
        path.write_bytes(body)
        if on_bytes:
            on_bytes(len(body))

    def presign(self, bucket: str, key: str, *, seconds: int) -> str:
        self._enter("presign", key)
        return f"http://127.0.0.1:1/{bucket}/{key}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={seconds}"

    # queue

    def queue_url(self, name: str) -> str:
        self._enter("queue_url", name)
        if name not in self.store.queues:
            raise CloudError(f"queue {name} does not exist", service="sqs", code="NoSuchQueue")
        return f"http://127.0.0.1:1/{self.settings.account}/{name}"

    def receive(self, queue_url: str, *, wait_s: int, most: int = 10) -> Messages:
        self._enter("receive", queue_url)
        queue = self._queue(queue_url)
        found: Messages = []
        with self.store.changed:
            self.store.changed.wait_for(lambda: queue.waiting, timeout=wait_s)
            while queue.waiting and len(found) < most:
                message = queue.waiting.popleft()
                message = replace(message, receipt=f"r{next(self.store.ids)}", attempts=message.attempts + 1)
                queue.flying[message.receipt] = message
                found.append(message)
        return found

    def acknowledge(self, queue_url: str, receipt: str) -> None:
        self._enter("acknowledge", queue_url)
        with self.store.changed:
            self._queue(queue_url).flying.pop(receipt, None)

    def acknowledge_all(self, queue_url: str, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            self.acknowledge(queue_url, receipt)

    # machines

    def instances(self, *, deployment: str, job: str | None = None) -> Instances:
        self._enter("instances", job or deployment)
        found = [
            machine
            for machine in list(self.store.machines.values())  # other threads launch meanwhile
            if machine.tags.get(DEPLOYMENT_TAG) == deployment and job in {None, machine.job}
        ]
        return sorted(found, key=lambda m: (m.job, m.task, m.launched, m.id))

    def leftovers(self, *, deployment: str, job: str | None = None) -> Leftovers:
        self._enter("leftovers", job or deployment)
        alive = [
            Leftover(kind=LeftoverKind.INSTANCE, id=m.id, job=m.job, created=m.launched, tags=m.tags)
            for m in list(self.store.machines.values())
            if not m.is_gone
        ]
        found = [
            thing
            for thing in (*alive, *self.store.things.values())
            if thing.tags.get(DEPLOYMENT_TAG) == deployment and job in {None, thing.job}
        ]
        return sorted(found, key=lambda thing: (ORDER.index(thing.kind), thing.id))

    def remove(self, leftover: Leftover) -> None:
        self._enter("remove", leftover.id)
        if leftover.kind is LeftoverKind.INSTANCE:
            if leftover.id in self.store.machines:
                self.end(leftover.id, "User initiated")
        else:
            self.store.things.pop(leftover.id, None)

    def console(self, instance: str) -> str:
        self._enter("console", instance)
        if instance not in self.store.machines:
            raise CloudError(f"{instance} does not exist", service="ec2", code="InvalidInstanceID.NotFound")
        return self.store.consoles.get(instance, "")

    def spot_price(self, instance_type: str, zone: str) -> Decimal | None:
        self._enter("spot_price", f"{instance_type} {zone}")
        return self.store.spot_prices.get(instance_type)

    def find_image(self, digest: str) -> str | None:
        self._enter("find_image", digest)
        return next((ami for ami, known in self.store.images.values() if known == digest), None)

    def register_image(self, *, name: str, digest: str, architecture: str) -> str:
        self._enter("register_image", f"{name} {architecture}")
        ami = self.store.images.get(name, (f"ami-{next(self.store.ids):017x}", ""))[0]
        self.store.images[name] = (ami, digest)
        return ami

    def role_exists(self, name: str) -> bool:
        self._enter("role_exists", name)
        return name in self.store.roles

    def assume_group(self, role_arn: str, session: str) -> CloudSettings:
        self._enter("assume_group", role_arn)
        return replace(self.settings, access_key=f"AKIA{session}", secret_key="secret", session_token=role_arn)

    def as_group(self, group: str) -> FakeCloud:
        """The same cloud seen with the permissions of a user of `group` (neurocaas-contract, section 1)."""
        return FakeCloud(store=self.store, group=group, settings=self.settings)
