"""A fake cloud that outlives the processes that use it: it lives in the harness, they reach it through a socket."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from state.errors import CloudError
from tests.crash.faults import CallFault, Faults, as_error
from tests.fakes.cloud import FakeCloud

CALLED = (EOFError, ConnectionError, OSError)
EFFECTS = ("write", "upload", "delete", "remove", "launch", "end", "leave", "receive", "acknowledge")
"""How calls begin after which the world is another one: a process may die before it has written down that it is."""
KEY = b"crash"

log = logging.getLogger(__name__)


def address_of(folder: Path) -> str:
    """Return the socket of a run in a folder: a name of the kernel's, because a path may be too long for one."""
    return f"\0mayfly-crash-{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}"


class CloudHost:
    """Serves a fake cloud, one thread per caller; a caller that is killed is forgotten."""

    def __init__(self, cloud: FakeCloud, folder: Path) -> None:
        self._closed = False
        self._cloud, self._listener = cloud, Listener(address_of(folder), "AF_UNIX", backlog=64, authkey=KEY)
        threading.Thread(target=self._accept, name="cloud", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller = self._listener.accept()
            except Exception as error:  # noqa: BLE001  (a caller that was killed while it shook hands, at any byte)
                if self._closed:
                    return
                log.info("half a handshake: %s", error)
                continue
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: Connection) -> None:
        try:
            while True:
                method, arguments, options = caller.recv()
                caller.send(self._answer(method, arguments, options))
        except CALLED:
            caller.close()

    def _answer(self, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, Any]:
        try:
            # The lock of the store, so that two callers never see it half changed; a waiting `receive` lets go of it.
            with self._cloud.store.changed:
                found = getattr(self._cloud, method)(*arguments, **options)
                return "value", list(found) if isinstance(found, Iterator) else found
        except CloudError as error:
            facts = {"service": error.service, "code": error.code, "retryable": error.retryable}
            return "error", (str(error), facts)
        except Exception as error:  # noqa: BLE001  (the caller shall see it, whatever it is)
            return "bug", f"{method}: {error!r}"


class DistantCloud:
    """The cloud as a process sees it: every method of the fake, by name, whatever the interface grows to be."""

    def __init__(
        self, folder: Path, *, after: Callable[[str], None] = lambda _: None, faults: Faults | None = None
    ) -> None:
        self._address, self._after, self._faults, self._mine = address_of(folder), after, faults, threading.local()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            fault = self._faults.choose(f"cloud.{method}", list(CallFault)) if self._faults else None
            if fault in {CallFault.THROTTLE, CallFault.ERROR}:
                raise as_error(fault, method)
            kind, value = self._ask(method, arguments, options)
            if kind == "error":
                raise CloudError(value[0], **value[1])
            if kind == "bug":
                raise RuntimeError(value)
            if method.startswith(EFFECTS):
                self._after(f"cloud.{method}")
            if fault is CallFault.LOST_ANSWER:
                if method == "receive":  # messages that nobody heard of are there again after a while
                    self._ask("redeliver", (arguments[0].rpartition("/")[2],), {})
                raise as_error(fault, method)
            return value

        return call

    def _ask(self, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, Any]:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = Client(self._address, "AF_UNIX", authkey=KEY)
        connection.send((method, arguments, options))
        kind, value = connection.recv()
        return kind, value
