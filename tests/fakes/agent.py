"""What the agent's tests need: an object store in memory, a clock that does not wait, a manifest."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runner.iae.store import Copy, OnBytes, Stored, StoreError

BUCKET = "lab-data"
ROOT = "lab/results/job__lab-data_1/"


@dataclass
class FakeStore:
    """Objects in memory. `refuse` is asked before every call and may return the error to raise."""

    objects: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    refuse: Callable[[str, str], StoreError | None] = lambda verb, key: None  # noqa: ARG005
    on_write: Callable[[str], None] = lambda key: None  # noqa: ARG005

    def head(self, bucket: str, key: str) -> Stored | None:
        self._check(bucket, "head", key)
        body = self.objects.get(key)
        return None if body is None else self._stored(key, body)

    def scan(self, bucket: str, prefix: str) -> Iterator[Stored]:
        self._check(bucket, "scan", prefix)
        yield from (self._stored(key, self.objects[key]) for key in sorted(self.objects) if key.startswith(prefix))

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        self._check(bucket, "read", key)
        if key not in self.objects:
            raise StoreError(f"s3://{BUCKET}/{key}: NoSuchKey", code="NoSuchKey", retryable=False)
        return self.objects[key][:limit]

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        self._check(bucket, "put", key)
        self.objects[key] = body
        self.types[key] = content_type
        self.written.append(key)
        self.on_write(key)

    def download(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        def move(copy: Copy) -> None:
            body = self.objects[copy.key]
            copy.path.write_bytes(body)
            on_bytes(len(body))

        return self._each(bucket, "download", copies, check, move)

    def upload(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        def move(copy: Copy) -> None:
            self.objects[copy.key] = copy.path.read_bytes()
            self.types[copy.key] = copy.content_type
            self.written.append(copy.key)
            on_bytes(len(self.objects[copy.key]))

        return self._each(bucket, "upload", copies, check, move)

    def _each(
        self, bucket: str, verb: str, copies: Sequence[Copy], check: Callable[[], None], move: Callable[[Copy], None]
    ) -> list[Copy]:
        failed = []
        for copy in copies:
            check()
            try:
                self._check(bucket, verb, copy.key)
            except StoreError as error:
                if not error.retryable:
                    raise
                failed.append(copy)
            else:
                move(copy)
        return failed

    def _check(self, bucket: str, verb: str, key: str) -> None:
        assert bucket == BUCKET
        if error := self.refuse(verb, key):
            raise error

    def _stored(self, key: str, body: bytes) -> Stored:
        return Stored(key=key, size=len(body), etag=etag(body), version="v1")


def etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def unreachable(key: str = "") -> StoreError:
    return StoreError(f"s3://{BUCKET}/{key}: nothing answers", code="Unreachable", retryable=True)


def denied(key: str = "") -> StoreError:
    return StoreError(f"s3://{BUCKET}/{key}: AccessDenied", code="AccessDenied", retryable=False)


class JumpingClock:
    """Waiting takes no time, but the clock moves on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []
        self.start = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> None:
        if not event.is_set():
            self.waits.append(seconds)
            self.seconds += seconds


def raw_manifest(image_root: Path, command: list[str], **changes: Any) -> dict[str, Any]:
    deadline = datetime.now(UTC) + timedelta(seconds=changes.pop("seconds_left", 300))
    return {
        "version": 1,
        "job": "pca-0123456789ab",
        "task": 0,
        "group": "lab",
        "analysis": "pca",
        "region": "eu-central-1",
        "input": {"bucket": BUCKET, "key": "lab/inputs/data.txt", "version": ""},
        "config": {"bucket": BUCKET, "key": "lab/configs/config.yaml"},
        "parameters": {"n": 3},
        "results": {
            "bucket": BUCKET,
            "folder": f"{ROOT}process_results/",
            "status": f"{ROOT}logs/DATASET_NAME:data.txt_STATUS.txt",
            "report": f"{ROOT}logs/task-0.json",
            "log": f"{ROOT}logs/task-0.log",
            "live": f"{ROOT}logs/live/0/",
        },
        "command": command,
        "image_root": str(image_root),
        "iae": "d" * 64,
        "time_limit_s": 60,
        "deadline": deadline.isoformat(),
        "log_limit_bytes": 1_000_000,
        "result_limit_bytes": 1_000_000,
        "heartbeat_s": 0.05,
        **changes,
    }
