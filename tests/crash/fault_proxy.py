"""A bad network in front of an emulator: it loses answers, cuts them short, throttles, and refuses machines, by plan.

A fault either comes before the call reaches the cloud (it had no effect) or after (it had, and nobody hears of it).
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOPS = frozenset({"connection", "transfer-encoding", "keep-alive"})


class Fault(StrEnum):
    """What can go wrong with one call."""

    CAPACITY = "capacity"
    THROTTLE = "throttle"
    ERROR = "500"
    TIMEOUT = "timeout"
    RESET = "reset"
    LOST_ANSWER = "lost answer"
    TRUNCATED = "truncated body"


@dataclass(kw_only=True)
class Planned:
    """A fault that waits for its calls.

    Attributes:
        fault: what happens.
        call: pattern for the call, such as `RunInstances` or `PUT .*/results/`.
        times: how often.
    """

    fault: Fault
    call: str
    times: int = 1


EC2_ERRORS = {
    Fault.CAPACITY: (500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity."),
    Fault.THROTTLE: (503, "RequestLimitExceeded", "Request limit exceeded."),
    Fault.ERROR: (500, "InternalError", "An internal error has occurred"),
}
OTHER_ERRORS = {
    Fault.THROTTLE: (503, "SlowDown", "Please reduce your request rate."),
    Fault.ERROR: (500, "InternalError", "We encountered an internal error. Please try again."),
}


class FaultProxy:
    """Listens on loopback and hands everything on to an endpoint, but for what is planned."""

    def __init__(self, endpoint: str, *, timeout_s: float = 0.5) -> None:
        self.timeout_s = timeout_s
        parts = urlsplit(endpoint)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.plan: list[Planned] = []
        self.happened: list[tuple[Fault, str]] = []
        self.calls: list[str] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, name="faults", daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def expect(self, fault: Fault, call: str, times: int = 1) -> None:
        """Let the next `times` calls like `call` go wrong."""
        with self._lock:
            self.plan.append(Planned(fault=fault, call=call, times=times))

    def choose(self, call: str) -> Fault | None:
        """Return what goes wrong with this call."""
        with self._lock:
            self.calls.append(call)
            for one in self.plan:
                if one.times > 0 and re.search(one.call, call):
                    one.times -= 1
                    self.happened.append((one.fault, call))
                    return one.fault
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is what this proxy is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = self._read()
        call, is_ec2 = self._name(body)
        fault = proxy.choose(call)
        errors = EC2_ERRORS if is_ec2 else OTHER_ERRORS
        if fault in errors:
            self._refuse(*errors[fault], is_ec2=is_ec2)
        elif fault is Fault.RESET:
            self._hang_up()
        elif fault is Fault.TIMEOUT:
            threading.Event().wait(proxy.timeout_s)
            self._hang_up()
        else:
            answer, content = self._ask(body)
            if fault is Fault.LOST_ANSWER:
                self._hang_up()
            else:
                self._answer(answer, content, cut=fault is Fault.TRUNCATED)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815  (the names that the library calls)

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _name(self, body: bytes) -> tuple[str, bool]:
        """Return what a person would call this call, and whether EC2 is asked."""
        target = self.headers.get("X-Amz-Target")
        if target:
            return target, False
        action = parse_qs(body.decode(errors="replace")).get("Action") if self.command == "POST" else None
        return (action[0], True) if action else (f"{self.command} {self.path}", False)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS | {"expect"}}
        headers["Content-Length"] = str(len(body))
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def _answer(self, answer: http.client.HTTPResponse, content: bytes, *, cut: bool) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOPS | {"content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self._hang_up()

    def _refuse(self, status: int, code: str, text: str, *, is_ec2: bool) -> None:
        error = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
        content = f"<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>" if is_ec2 else error
        self.send_response_only(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.encode())

    def _hang_up(self) -> None:
        """Reset the connection: no farewell, as when a cable is pulled."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
