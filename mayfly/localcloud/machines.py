"""EC2's control plane: moto, mended, in one thread of its own, with its state on disk.

One thread, because moto guards nothing against a second one, and so that a snapshot is always whole.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from moto import __version__ as moto_version
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import StateReason
from moto.server import create_backend_app
from werkzeug.test import Client

from mayfly.localcloud.home import write_file
from mayfly.localcloud.together import Together

log = logging.getLogger("mayfly.localcloud")
IMAGE_TAG = "mayfly:iae"
_REMEMBERED = timedelta(hours=1)
"""How long a terminated instance can still be described; AWS keeps them about as long."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the instance host must know of one instance.

    Attributes:
        id: EC2's id.
        state: EC2's word.
        image: AMI id.
        iae: digest of the image's environment; empty for an image without one.
        type: instance type.
        user_data: as it was given, decoded.
        tags: its tags.
        profile: ARN of its instance profile, or empty.
        zone: availability zone.
        address: private IPv4 address.
        launched: UTC.
        on_shutdown: `terminate` or `stop`: what happens when it shuts itself down.
        shows_tags: whether its metadata has its tags.
        life_cycle: `on-demand` or `spot`.
    """

    id: str
    state: str
    image: str
    iae: str
    type: str
    user_data: bytes
    tags: Mapping[str, str]
    profile: str
    zone: str
    address: str
    launched: datetime
    on_shutdown: str
    shows_tags: bool
    life_cycle: str

    @property
    def is_running(self) -> bool:
        """Whether its process should exist."""
        return self.state in {"pending", "running"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer of EC2."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Machines:
    """EC2's control plane of one account.

    Attributes:
        file: where its state is kept.
    """

    def __init__(self, file: Path, *, account: str, region: str) -> None:
        """Make the service; nothing is read yet."""
        self.file = file
        self._account, self._region = account, region
        self._client = Client(create_backend_app("ec2"))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ec2")
        self._now = datetime.now(UTC)
        self._save = Together(self._write)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Carry out one API call."""
        kept = {k: v for k, v in headers.items() if k not in {"content-length", "transfer-encoding"}}

        def work() -> Answer:
            response = self._client.open(path, method=method, headers=kept, data=body)
            found = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in response.headers.items()
                if name.lower() in {"content-type", "x-amzn-requestid"}
            ]
            return Answer(status=response.status_code, headers=found, body=response.get_data())

        return await self._in_turn(work)

    async def load(self, now: datetime) -> None:
        """Read what an earlier cloud knew. Its running instances died with it: they are terminated, with the reason."""

        def work() -> None:
            try:
                version, found = pickle.loads(self.file.read_bytes())  # noqa: S301 - our own file, 0600 in a 0700 folder
            except FileNotFoundError:
                return
            except Exception as error:  # noqa: BLE001 - whatever a damaged pickle raises, the cloud must start
                log.warning("the state of EC2 in %s cannot be read (%s); starting without it", self.file, error)
                return
            if version != moto_version:
                log.warning(
                    "the state of EC2 in %s is of another release (%s); starting without it", self.file, version
                )
                return
            for account, regions in found.items():
                for region, backend in regions.items():
                    ec2_backends[account][region] = backend
            self._end_all(now)

        await self._in_turn(work)

    async def stop(self, now: datetime) -> None:
        """Terminate what still runs, because the cloud is about to end, and write everything down."""
        await self._in_turn(lambda: self._end_all(now))
        with suppress(OSError):
            await self.save(now)
        self._thread.shutdown(wait=True)

    async def save(self, now: datetime) -> None:
        """Write everything down; calls that come together share one writing.

        Raises:
            OSError: the disk is full.
        """
        self._now = now
        await self._save()

    async def _write(self) -> None:
        def snapshot() -> bytes:
            self._forget_old(self._now)
            known = {account: dict(regions) for account, regions in ec2_backends.items()}
            return pickle.dumps((moto_version, known))

        content = await self._in_turn(snapshot)
        await asyncio.to_thread(write_file, self.file, content)  # other calls go on while the disk takes it

    async def all(self) -> list[Machine]:
        """Return every instance that is remembered."""
        return await self._in_turn(self._machines)

    async def end(self, instance: str, *, now: datetime, code: str, message: str, stop: bool = False) -> None:
        """Terminate (or stop) an instance for a reason other than an API call; one that is gone stays as it is."""
        await self._in_turn(lambda: self._end(instance, now=now, code=code, message=message, stop=stop))

    @property
    def _backend(self) -> Any:
        return ec2_backends[self._account][self._region]

    def _machines(self) -> list[Machine]:
        images = self._backend.amis
        found = []
        for instance in self._backend.all_instances():
            image = images.get(instance.image_id)
            tags = {tag["key"]: tag["value"] for tag in image.get_tags()} if image else {}
            association = self._backend.iam_instance_profile_associations.get(instance.id)
            data = instance.user_data
            found.append(
                Machine(
                    id=instance.id,
                    state=instance.state,
                    image=instance.image_id,
                    iae=tags.get(IMAGE_TAG, ""),
                    type=instance.instance_type,
                    user_data=base64.b64decode(data.as_bytes()) if data is not None else b"",
                    tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
                    profile=association.iam_instance_profile.arn if association else "",
                    zone=instance.availability_zone or "",
                    address=instance.private_ip or "",
                    launched=instance.launch_time.replace(tzinfo=UTC),
                    on_shutdown=instance.instance_initiated_shutdown_behavior,
                    shows_tags=instance.metadata_options.instance_metadata_tags == "enabled",
                    life_cycle=instance.lifecycle or "on-demand",
                )
            )
        return found

    def _end_all(self, now: datetime) -> None:
        for machine in self._machines():
            if machine.is_running:
                code = "Server.InternalError"
                message = f"{code}: the embedded cloud was stopped while this instance ran"
                self._end(machine.id, now=now, code=code, message=message, stop=False)

    def _end(self, instance: str, *, now: datetime, code: str, message: str, stop: bool) -> None:
        found = self._backend.get_instance_by_id(instance)
        if found is None or found.state == "terminated":
            return
        found.stop() if stop else found.terminate()
        found._reason = f"{message} ({now:%Y-%m-%d %H:%M:%S} GMT)"
        found.state_reason = StateReason(message, code)

    def _forget_old(self, now: datetime) -> None:
        backend = self._backend
        for name, reservation in list(backend.reservations.items()):
            old = [i for i in reservation.instances if _ended(i) and now - _ended(i) > _REMEMBERED]  # type: ignore[operator]  # narrowed by the first half
            for instance in old:
                reservation.instances.remove(instance)
            if not reservation.instances:
                del backend.reservations[name]


def _ended(instance: Any) -> datetime | None:
    """Return when an instance was terminated, as its transition reason says it."""
    if instance.state != "terminated":
        return None
    stamp = instance.state_transition_reason.rpartition("(")[2].removesuffix(" GMT)")
    return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
