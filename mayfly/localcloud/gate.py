"""What stands before the emulator: who is let in, and when a client is told that something was done.

The emulator takes several keys for root without checking a signature, and has doors of its own (reset, settings);
both are shut here. An answer to a call that changes something leaves only when the change is on disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mayfly.localcloud.configuration import OFFER
from mayfly.localcloud.home import free_bytes, sync_files
from mayfly.localcloud.http import (
    Application,
    Event,
    Receive,
    Request,
    Scope,
    Send,
    action_of,
    read_body,
    read_request,
    refuse,
    replay,
)
from mayfly.localcloud.journal import Journal
from mayfly.localcloud.objects import unsynced, write_errors

SPARE = 8 << 20
"""Bytes that must stay free on disk: state can then still be written, and jobs can still be taken down."""
_CALL = 4 << 20
_HOSTS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_READS = re.compile(r"Get|List|Describe|Simulate|Generate|Test")
_FREEING = re.compile(r"Delete|Remove|Detach|Terminate|Purge|Cancel|Disassociate")
_CONTROL = "/v20180820/"
"""Where S3's control plane has its calls (tags of buckets, for newer providers)."""


class Gate:
    """Lets a signed request of a known service through to the emulator.

    Attributes:
        services: the services on offer at this door.
    """

    def __init__(self, emulator: Application, journal: Journal, *, disk: Path, services: Collection[str]) -> None:
        """Stand before `emulator`; `disk` is a folder on the disk that objects and state go to."""
        self._emulator, self._journal, self._disk = emulator, journal, disk
        self.services = frozenset(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = read_request(scope)
        service = request.service or "s3"
        problem = self._problem(request)
        if problem:
            await refuse(send, 403, *problem, service=service, head=request.method == "HEAD")
        elif service == "s3":
            await self._objects(request, scope, receive, send)
        else:
            await self._call(request, scope, receive, send)

    def _problem(self, request: Request) -> tuple[str, str] | None:
        if not _HOSTS.fullmatch(request.headers.get("host", "")):
            return "AccessDenied", "The embedded cloud is served on 127.0.0.1 only."
        if request.path.startswith(("/_", "/iceberg", "/latest/")):
            return "AccessDenied", "The embedded cloud has no such address."
        if request.method == "OPTIONS":
            return None
        if not request.has_principal:
            return "AccessDenied", "Sign the request with a key of a user or role of this cloud; it has no other keys."
        if request.service not in self.services:
            offer = ", ".join(sorted(self.services))
            return "AccessDenied", f"The service {request.service} is not on offer here; these are: {offer}."
        return None

    async def _objects(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        changes = request.method in {"PUT", "POST", "DELETE"}
        if changes and request.method != "DELETE" and not self._has_room(request):
            await refuse(send, 507, "InsufficientStorage", "The disk of the embedded cloud is full.", service="s3")
            return
        written: list[Path] = []
        errors: list[OSError] = []
        unsynced.set(written)
        write_errors.set(errors)
        of_bucket = changes and (request.path.startswith(_CONTROL) or "/" not in request.path.strip("/"))
        state = "s3" if of_bucket else ""
        kept = _Kept(self._journal, send, service="s3", state=state, errors=errors, written=written)
        await self._emulator(scope, receive, kept)

    async def _call(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, _CALL)
        if body is None:
            await refuse(send, 413, "RequestTooLarge", "The request is longer than 4 MiB.", service=request.service)
            return
        action = action_of(request, body)
        reads = _READS.match(action) is not None and action != "GetSessionToken"
        if not reads and not _FREEING.match(action) and action != "ReceiveMessage" and not self._has_room(request):
            message = "The disk of the embedded cloud is full."
            await refuse(send, 507, "InsufficientStorage", message, service=request.service)
            return
        # A delivery hides a message for a while: if that is lost, the message is delivered again, as SQS may anyway.
        at_once = not reads and action != "ReceiveMessage"
        state = OFFER[request.service]
        kept = _Kept(self._journal, send, service=request.service, state=state if at_once else "", errors=[])
        await self._emulator(scope, replay(body, receive), kept)
        if action == "ReceiveMessage":
            self._journal.save_soon(state)

    def _has_room(self, request: Request) -> bool:
        length = request.headers.get("content-length", "0")
        return free_bytes(self._disk) > SPARE + (int(length) if length.isdigit() else 0)


class _Kept:
    """A channel to the client that holds an answer back until what it says is on disk; an error takes its place."""

    def __init__(
        self,
        journal: Journal,
        send: Send,
        *,
        service: str,
        state: str,
        errors: list[OSError],
        written: Sequence[Path] = (),
    ) -> None:
        self._journal, self._state, self._errors, self._send, self._service = journal, state, errors, send, service
        self._written = written
        self._replaced = False

    async def __call__(self, event: Event) -> None:
        if self._replaced:
            return
        if event["type"] == "http.response.start":
            try:
                if self._written:
                    await asyncio.to_thread(sync_files, self._written)
                if self._state and event["status"] < 400:  # noqa: PLR2004 - HTTP's own
                    await self._journal.save(self._state)
            except OSError as error:
                self._errors.append(error)
            if self._errors:
                self._replaced = True
                message = f"The embedded cloud could not write to its disk: {self._errors[0].strerror}."
                await refuse(self._send, 507, "InsufficientStorage", message, service=self._service)
                return
        await self._send(event)
