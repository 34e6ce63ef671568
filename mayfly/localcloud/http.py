"""The few pieces of ASGI and AWS's wire formats that the gates need."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_SIGNED = re.compile(r"Credential=([^/,\s]*)/(\d{8})/([^/,\s]*)/([^/,\s]*)/aws4_request")
_PRINCIPAL = re.compile(r"(AKIA|ASIA)[A-Z0-9]{12,124}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request says before its body is read.

    Attributes:
        method: HTTP method.
        path: decoded path.
        query: decoded query parameters.
        headers: names in lower case; the last of repeated ones.
        access_key: what it is signed with, whether or not the signature is right; empty when it is not signed.
        service: the service it is signed for.
        region: the region it is signed for.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    access_key: str
    service: str
    region: str

    @property
    def has_principal(self) -> bool:
        """Whether it names a key of a user or a role; everything else that an emulator takes for root does not."""
        return _PRINCIPAL.fullmatch(self.access_key) is not None


def read_request(scope: Scope) -> Request:
    """Read a request's head."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    signed = headers.get("authorization") or "Credential=" + query.get("X-Amz-Credential", [""])[0]
    found = _SIGNED.search(signed)
    access_key, _, region, service = found.groups() if found else ("", "", "", "")
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=query,
        headers=headers,
        access_key=access_key,
        service=service,
        region=region,
    )


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Return a request's whole body, None when the client left or it is longer than `limit` bytes."""
    parts = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return None
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not event.get("more_body"):
            return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that delivers a body that was read already, then whatever else comes."""
    sent = False

    async def again() -> Event:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a whole answer."""
    head = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, status: int, code: str, message: str, *, service: str = "", head: bool = False) -> None:
    """Send an error in the form that the SDK of `service` reads."""
    if service in {"sqs", "events"}:
        body = json.dumps({"__type": code, "message": message}).encode()
        kind = b"application/x-amz-json-1.0"
    else:
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        shape = {
            "s3": f"<Error>{error}</Error>",
            "ec2": f"<Response><Errors><Error>{error}</Error></Errors></Response>",
        }.get(service, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")
        body = f'<?xml version="1.0" encoding="UTF-8"?>{shape}'.encode()
        kind = b"application/xml"
    await answer(send, status, b"" if head else body, [(b"content-type", kind)])


def action_of(request: Request, body: bytes) -> str:
    """Return the action of a JSON or query protocol call: `DeleteMessage`, `RunInstances`; empty when it has none."""
    target = request.headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    named = request.query.get("Action") or parse_qs(body[:65536].decode("latin-1")).get("Action") or [""]
    return named[0]
