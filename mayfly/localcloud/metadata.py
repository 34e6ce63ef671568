"""The metadata service of one instance (IMDSv2 only): who it is, its user data, its role's credentials.

Served on a unix socket of the instance's own, which is what makes it impossible to ask in another's name.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from mayfly.localcloud.emulator import Key
from mayfly.localcloud.home import bind_unix
from mayfly.localcloud.machines import Machine

_HEAD = 16 << 10
_LONGEST = 21600
"""Seconds a token may live at most, as on EC2."""
_RENEW = 900.0
"""Seconds before their end at which credentials are replaced; SDKs ask for new ones 15 minutes before the end."""
RoleKey = Callable[[], Awaitable[tuple[str, Key] | None]]


class MetadataService:
    """Answers what runs inside one instance.

    Attributes:
        machine: the instance; replaced when its tags change.
        goes_at: when spot capacity is taken back, UTC; None while nobody wants it.
    """

    def __init__(self, machine: Machine, *, region: str, role_key: RoleKey) -> None:
        """Serve nothing yet; `role_key` asks STS for credentials of the instance's role."""
        self.machine = machine
        self._region, self._role_key = region, role_key
        self._tokens: dict[str, float] = {}
        self._known: tuple[str, Key] | None = None
        self._asking = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self.goes_at: datetime | None = None

    async def start(self, path: Path | None) -> int:
        """Listen on a unix socket, or without one on a free loopback port; return that port, else 0."""
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, sock=bind_unix(path), limit=_HEAD)
            return 0
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, family=socket.AF_INET, limit=_HEAD)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
            status, body = await self._answer(method, path.rstrip("/"), headers)
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            status, body = HTTPStatus.BAD_REQUEST, b""
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Server: EC2ws", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: text/plain", "Connection: close", "", ""]
        with suppress(OSError):
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[HTTPStatus, bytes]:
        if (method, path) == ("PUT", "/latest/api/token"):
            return self._new_token(headers)
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, b""
        if self._tokens.get(headers.get("x-aws-ec2-metadata-token", ""), 0.0) < time.monotonic():
            return HTTPStatus.UNAUTHORIZED, b""
        content = await self._content(path)
        return (HTTPStatus.NOT_FOUND, b"") if content is None else (HTTPStatus.OK, content)

    def _new_token(self, headers: dict[str, str]) -> tuple[HTTPStatus, bytes]:
        seconds = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if "x-forwarded-for" in headers:
            return HTTPStatus.FORBIDDEN, b""
        if not seconds.isdigit() or not 1 <= int(seconds) <= _LONGEST:
            return HTTPStatus.BAD_REQUEST, b""
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + int(seconds)
        return HTTPStatus.OK, token.encode()

    async def _content(self, path: str) -> bytes | None:
        machine = self.machine
        if path == "/latest/user-data":
            return machine.user_data
        name = path.removeprefix("/latest/meta-data/")
        if name.startswith("iam/security-credentials"):
            return await self._credentials(name.removeprefix("iam/security-credentials").strip("/"))
        if name == "tags/instance" and machine.shows_tags:
            return "\n".join(machine.tags).encode()
        if name.startswith("tags/instance/") and machine.shows_tags:
            value = machine.tags.get(name.removeprefix("tags/instance/"))
            return None if value is None else value.encode()
        facts = {
            "instance-id": machine.id,
            "ami-id": machine.image,
            "instance-type": machine.type,
            "local-ipv4": machine.address,
            "instance-life-cycle": machine.life_cycle,
            "spot/instance-action": self._spot_action(),
            "placement/region": self._region,
            "placement/availability-zone": machine.zone,
        }
        fact = facts.get(name)
        if path == "/latest/meta-data":
            return "\n".join(sorted(name for name, fact in facts.items() if fact is not None)).encode()
        return None if fact is None else fact.encode()

    def _spot_action(self) -> str | None:
        """Return AWS's notice, which is there only when spot capacity is about to be taken back."""
        if self.goes_at is None:
            return None
        return json.dumps({"action": "terminate", "time": self.goes_at.strftime("%Y-%m-%dT%H:%M:%SZ")})

    async def _credentials(self, role: str) -> bytes | None:
        async with self._asking:
            ends = self._known[1].expires if self._known else None
            if ends is None or (ends - datetime.now(UTC)).total_seconds() < _RENEW:
                self._known = await self._role_key()
        if self._known is None:
            return None
        name, key = self._known
        if not role:
            return name.encode()
        if role != name or key.expires is None:
            return None
        stamp = "%Y-%m-%dT%H:%M:%SZ"
        return json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "LastUpdated": datetime.now(UTC).strftime(stamp),
                "AccessKeyId": key.access_key,
                "SecretAccessKey": key.secret_key,
                "Token": key.session_token,
                "Expiration": key.expires.strftime(stamp),
            }
        ).encode()
