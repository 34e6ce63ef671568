"""EC2's door: signatures and policies are checked by the emulator that has IAM, then moto answers.

moto itself checks nothing. What a call changed is on disk, and instances are started and killed, before the answer
leaves: when TerminateInstances has answered, the process is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ministack.core.iam_actions import extract_iam_action
from ministack.core.iam_evaluator import (
    AuthError,
    enforce,
    find_iam_access_key_account,
    pin_request_caller,
    pin_signed_body,
    pin_signed_request,
)
from ministack.core.responses import set_request_account_id, set_request_region

from mayfly.localcloud.gate import SPARE
from mayfly.localcloud.home import free_bytes
from mayfly.localcloud.http import Receive, Request, Scope, Send, action_of, answer, read_body, read_request, refuse
from mayfly.localcloud.machines import Machines

log = logging.getLogger("mayfly.localcloud")
_CALL = 1 << 20
_MAKING = ("Run", "Create", "Allocate", "Import", "Request", "Copy", "Register")


class Ec2Gate:
    """Lets a signed and allowed EC2 call through to the control plane."""

    def __init__(self, machines: Machines, *, region: str, disk: Path, settle: Callable[[], Awaitable[None]]) -> None:
        """Stand before `machines`; `settle` makes processes agree with the control plane."""
        self._machines, self._region, self._disk, self._settle = machines, region, disk, settle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = read_request(scope)
        if request.path not in {"", "/"} or request.method not in {"GET", "POST"} or request.service != "ec2":
            await refuse(send, 403, "UnauthorizedOperation", "Only EC2 is served here.", service="ec2")
            return
        if request.region != self._region:
            message = f"The embedded cloud has one region, {self._region}; this call is for {request.region}."
            await refuse(send, 403, "UnauthorizedOperation", message, service="ec2")
            return
        body = await read_body(receive, _CALL)
        if body is None:
            await refuse(send, 413, "RequestLimitExceeded", "The request is longer than 1 MiB.", service="ec2")
            return
        action = action_of(request, body)
        problem = _problem(request, scope, body)
        if problem:
            await refuse(send, 403, *problem, service="ec2")
        elif action.startswith(_MAKING) and free_bytes(self._disk) < SPARE:
            message = "The disk of the embedded cloud is full."
            await refuse(send, 507, "InsufficientInstanceCapacity", message, service="ec2")
        else:
            await self._carry_out(request, scope, body, action, send)

    async def _carry_out(self, request: Request, scope: Scope, body: bytes, action: str, send: Send) -> None:
        path = "/" + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        found = await self._machines.call(request.method, path, request.headers, body)
        if not action.startswith(("Describe", "Get", "List")):
            try:
                await self._machines.save(datetime.now(UTC))
            except OSError as error:
                log.warning("the state of EC2 could not be written: %s", error)
            await self._settle()
        await answer(send, found.status, found.body, found.headers)


def _problem(request: Request, scope: Scope, body: bytes) -> tuple[str, str] | None:
    """Return why a call is refused; None when its signature is right and a policy allows it."""
    if not request.has_principal:
        return "AuthFailure", "Sign the request with a key of a user or role of this cloud; it has no other keys."
    set_request_account_id(find_iam_access_key_account(request.access_key) or request.access_key)
    set_request_region(request.region)
    raw_path = (scope.get("raw_path") or b"/").decode("latin-1")
    pin_signed_request(request.method, raw_path, request.query, scope["headers"])
    pin_signed_body(body)
    pin_request_caller(request.headers, request.query)
    parameters: dict[str, Any] = {**request.query, **parse_qs(body.decode("latin-1"), keep_blank_values=True)}
    action = extract_iam_action("ec2", request.method, request.path, request.headers, body, parameters)
    denied = enforce(request.access_key, action or "ec2:Unknown", "ec2", request.region)
    if denied is None:
        return None
    if isinstance(denied, AuthError):
        return "AuthFailure", denied.message
    return "UnauthorizedOperation", f"{denied.principal_arn} is not authorized to perform {action}."
