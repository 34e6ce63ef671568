"""The inside of a fake cloud, and what a test needs to set a scene in it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from runner.cloud import DEPLOYMENT_TAG, CloudSettings, Instance, Leftover, LeftoverKind, Message, ObjectInfo
from state.errors import CloudError

Stored = tuple[ObjectInfo, bytes, str]
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ticking(start: datetime = START, step: timedelta = timedelta(seconds=1)) -> Callable[[], datetime]:
    """Return a clock that moves on by `step` at each look."""
    ticks = count()
    return lambda: start + next(ticks) * step


def denied(action: str) -> CloudError:
    return CloudError(f"{action} is not allowed", service="s3", code="AccessDenied")


@dataclass
class FakeQueue:
    """Messages that wait, and those that were received and not yet acknowledged."""

    waiting: deque[Message] = field(default_factory=deque)
    flying: dict[str, Message] = field(default_factory=dict)


@dataclass
class FakeStore:
    """What all views of one fake cloud share."""

    now: Callable[[], datetime]
    objects: dict[str, dict[str, list[Stored]]] = field(default_factory=dict)
    queues: dict[str, FakeQueue] = field(default_factory=dict)
    wires: list[tuple[str, str, str]] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    machines: dict[str, Instance] = field(default_factory=dict)
    spot_prices: dict[str, Decimal] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    things: dict[str, Leftover] = field(default_factory=dict)
    images: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: dict[str, deque[CloudError]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[tuple[str, str]] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: count(1))
    changed: threading.Condition = field(default_factory=threading.Condition)


class Scene:
    """Everything of a fake cloud that is not part of the contract."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] | None = None,
        store: FakeStore | None = None,
        group: str | None = None,
        settings: CloudSettings | None = None,
    ) -> None:
        self.store = store or FakeStore(now=now or ticking())
        self.group = group
        self.settings = settings or CloudSettings(region="us-east-1", account="123456789012")

    def fail_next(self, method: str, error: CloudError, times: int = 1) -> None:
        """Let the next `times` calls of `method` fail, before they do anything."""
        self.store.faults[method].extend([error] * times)

    def make_bucket(self, name: str) -> None:
        self.store.objects.setdefault(name, {})

    def make_role(self, name: str) -> str:
        self.store.roles.add(name)
        return f"arn:aws:iam::{self.settings.account}:role/{name}"

    def make_queue(self, name: str) -> None:
        self.store.queues.setdefault(name, FakeQueue())

    def wire(self, bucket: str, queue: str, ending: str = "submit.json") -> None:
        """Let every object written to `bucket` whose key ends so send EventBridge's event to `queue`."""
        self.store.wires.append((bucket, queue, ending))

    def send(self, queue: str, body: str) -> None:
        with self.store.changed:
            message = Message(id=f"m{next(self.store.ids)}", receipt="", body=body, attempts=0)
            self.store.queues[queue].waiting.append(message)
            self.store.changed.notify_all()

    def redeliver(self, queue: str) -> None:
        """Let the visibility timeout of everything unacknowledged pass."""
        with self.store.changed:
            held = self.store.queues[queue]
            held.waiting.extend(held.flying.values())
            held.flying.clear()
            self.store.changed.notify_all()

    def launch(
        self,
        *,
        deployment: str,
        job: str,
        task: int = 0,
        kind: str = "m5.large",
        image: str = "ami-1",
        spot: bool = False,
    ) -> str:
        """Start an instance and return its id."""
        instance = f"i-{next(self.store.ids):017x}"
        tags = {DEPLOYMENT_TAG: deployment, "mayfly:job": job, "mayfly:task": str(task)}
        self.store.machines[instance] = Instance(
            id=instance,
            job=job,
            task=task,
            state="running",
            type=kind,
            launched=self.store.now(),
            image=image,
            tags=tags,
            zone="us-east-1a",
            spot=spot,
        )
        return instance

    def end(self, instance: str, reason: str = "Instance initiated shutdown") -> None:
        """Terminate an instance; the first end stands."""
        machine = self.store.machines[instance]
        if not machine.is_gone:
            ended = replace(machine, state="terminated", ended=self.store.now(), reason=reason)
            self.store.machines[instance] = ended

    def leave(self, kind: LeftoverKind, *, deployment: str, job: str) -> str:
        """Leave a volume or a security group behind and return its id."""
        thing = f"{'vol' if kind is LeftoverKind.VOLUME else 'sg'}-{next(self.store.ids):017x}"
        tags = {DEPLOYMENT_TAG: deployment, "mayfly:job": job}
        self.store.things[thing] = Leftover(kind=kind, id=thing, job=job, tags=tags)
        return thing

    def say(self, instance: str, text: str) -> None:
        """Print to an instance's console."""
        self.store.consoles[instance] = self.store.consoles.get(instance, "") + text

    def calls_of(self, method: str) -> list[str]:
        """What a method was called for, in order."""
        return [what for name, what in self.store.calls if name == method]

    # inside

    def _enter(self, method: str, what: str) -> None:
        self.store.calls.append((method, what))
        if self.store.faults[method]:
            raise self.store.faults[method].popleft()

    def _allow(self, action: str, key: str) -> None:
        if self.group is None:
            return
        group, _, rest = key.partition("/")
        folder = rest.partition("/")[0]
        allowed = {
            "list": True,
            "get": folder in {"configs", "results"},
            "put": folder in {"inputs", "configs", "submissions"},
            "delete": folder in {"inputs", "configs", "submissions", "results"},
        }
        if group != self.group or not allowed[action]:
            raise denied(f"{action} of {key}")

    def _bucket(self, name: str) -> dict[str, list[Stored]]:
        try:
            return self.store.objects[name]
        except KeyError:
            raise CloudError(f"bucket {name} does not exist", service="s3", code="NoSuchBucket") from None

    def _find(self, bucket: str, key: str, version: str | None) -> Stored | None:
        found = self.store.objects.get(bucket, {}).get(key, [])
        return next((one for one in reversed(found) if version in {None, one[0].version}), None)

    def _put(self, bucket: str, key: str, body: bytes, content_type: str, etag: str = "") -> ObjectInfo:
        self._allow("put", key)
        with self.store.changed:
            versions = self._bucket(bucket).setdefault(key, [])
            info = ObjectInfo(
                bucket=bucket,
                key=key,
                size=len(body),
                etag=etag or hashlib.md5(body, usedforsecurity=False).hexdigest(),
                version=f"v{next(self.store.ids)}",
                modified=self.store.now(),
            )
            versions.append((info, body, content_type))
        for wired, queue, ending in self.store.wires:
            if wired == bucket and key.endswith(ending):
                self.send(queue, json.dumps(event_of(info, self.settings)))
        return info

    def _queue(self, url: str) -> FakeQueue:
        name = url.rpartition("/")[2]
        if name not in self.store.queues:
            raise CloudError(f"queue {name} does not exist", service="sqs", code="NoSuchQueue")
        return self.store.queues[name]


def event_of(info: ObjectInfo, settings: CloudSettings) -> dict[str, object]:
    """Return EventBridge's "Object Created" event of one object."""
    return {
        "version": "0",
        "id": f"event-{info.version}",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": settings.account,
        "time": info.modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": settings.region,
        "resources": [f"arn:aws:s3:::{info.bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": info.bucket},
            "object": {"key": info.key, "size": info.size, "etag": info.etag, "version-id": info.version},
            "reason": "PutObject",
        },
    }
