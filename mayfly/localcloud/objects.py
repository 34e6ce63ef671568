"""Mends the emulator's S3: a full disk is an error for the client, and large objects do not pass through memory twice.

Each replacement says what it mends; tests/contracts hold the behaviour against the pinned release.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import ministack.app as emulator
from ministack.core.responses import get_account_id
from ministack.services import eventbridge, s3

from mayfly.localcloud.home import write_file

MAPPED = 1 << 20
"""Objects of at least this many bytes are mapped instead of read, so that a ranged GET costs its range only."""
_CHUNK = 1 << 20
write_errors: ContextVar[list[OSError] | None] = ContextVar("write_errors", default=None)
"""Where a request collects the errors of writing its object; the emulator itself only logs them."""
unsynced: ContextVar[list[Path] | None] = ContextVar("unsynced", default=None)
"""Where a request collects what it wrote and has not seen onto the disk; None where nobody does that afterwards.

A disk takes milliseconds for it, in which the emulator's only loop would answer nobody else."""


def mend(on_event: Callable[[], None]) -> None:
    """Install the replacements; call once, before the first request.

    Args:
        on_event: called, in any thread, when an event of S3 has been delivered to its targets.
    """
    _mend_writing()
    _mend_reading()
    _mend_events(on_event)


def _mend_writing() -> None:
    # An object that could not be written is an error, and no version's content stays in memory.
    persist = s3._persist_object

    def write(path: str, data: bytes | mmap.mmap | str, *, text: bool = False) -> None:
        del text
        try:
            later = unsynced.get()
            write_file(Path(path), data, sync=later is None)
            if later is not None:
                later.append(Path(path))
        except OSError as error:
            if (errors := write_errors.get()) is not None:
                errors.append(error)
            raise

    def persist_object(bucket: str, key: str, record: Any) -> None:
        persist(bucket, key, record)
        if write_errors.get():
            forget_unwritten(bucket)
            return
        for version in s3._object_versions.get((bucket, key)) or []:
            version["data"] = None

    s3._atomic_write, s3._persist_object = write, persist_object


def _mend_reading() -> None:
    # Every GET of a range read the whole object: downloading one in 8 MiB ranges was quadratic in its size.
    read, send = s3._read_body, emulator._send_response

    def read_body(bucket: str, key: str, record: dict[str, Any]) -> bytes | mmap.mmap:
        if record.get("body") is None and record.get("size", 0) >= MAPPED:
            path = Path(s3._object_disk_path(bucket, key) or "")
            if path.is_file():
                with path.open("rb") as file:
                    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content: bytes = read(bucket, key, record)
        return content

    async def send_response(
        channel: Any, status: int, headers: dict[str, Any], body: Any, *, head: bool = False
    ) -> None:
        if not isinstance(body, mmap.mmap):
            await send(channel, status, headers, body, head=head)
            return
        listed = emulator._asgi_header_list({"Content-Length": str(len(body)), **headers})
        await channel({"type": "http.response.start", "status": status, "headers": listed})
        for start in range(0, 0 if head else len(body), _CHUNK):
            await channel({"type": "http.response.body", "body": body[start : start + _CHUNK], "more_body": True})
        await channel({"type": "http.response.body", "body": b""})

    s3._read_body, emulator._send_response = read_body, send_response


def _mend_events(on_event: Callable[[], None]) -> None:
    # Events do not name the version of a versioned bucket's object, which AWS does and our identity of a submission
    # is made of.
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event
    version: ContextVar[str | None] = ContextVar("version", default=None)

    def fire_event(*about: Any, version_id: str | None = None, **more: Any) -> None:
        token = version.set(version_id)
        try:
            fire(*about, version_id=version_id, **more)
        finally:
            version.reset(token)

    def dispatch_event(event: dict[str, Any], *about: Any, **more: Any) -> Any:
        if event.get("Source") == "aws.s3" and version.get():
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version.get()
            event = {**event, "Detail": json.dumps(detail)}
        delivered = dispatch(event, *about, **more)
        on_event()
        return delivered

    s3._fire_s3_event, eventbridge._dispatch_event = fire_event, dispatch_event


def forget_unwritten(bucket: str) -> None:
    """Set a bucket back to what is on disk, as a restart would, after one of its objects could not be written.

    Otherwise memory would show an object that the client was told does not exist, and that the next start has lost.
    """
    account = get_account_id()
    kept = s3._buckets._data.get((account, bucket))
    if kept is None:
        return
    kept["objects"].clear()
    for scoped in [k for k in s3._object_versions._data if k[0] == account and k[1][0] == bucket]:
        del s3._object_versions._data[scoped]
    s3._load_persisted_bucket(account, bucket, str(Path(s3.DATA_DIR, account, bucket)))
