"""Writes down what the emulator's control planes know, before a client is told that it was done.

The emulator itself saves on a clean exit only. Object contents are not written here: they go to their own files.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ministack.core import persistence

from mayfly.localcloud.home import write_file
from mayfly.localcloud.together import Together

log = logging.getLogger("mayfly.localcloud")
State = Callable[[], Mapping[str, Any] | None]
_TRIES = 20
_SOON = 0.05
"""Seconds until a change that no client waits for is written: a message that an event put into a queue."""


class Journal:
    """One file per service, each written whole; callers that come together share one writing.

    Attributes:
        folder: where the emulator reads its state at the start.
    """

    def __init__(self, folder: Path, services: Mapping[str, State]) -> None:
        """Keep how to ask each service for its state; names are the emulator's file names."""
        self.folder = folder
        self._services = dict(services)
        self._savers = {service: Together(partial(self._save, service)) for service in self._services}
        self._later: dict[str, asyncio.Task[None]] = {}

    async def save(self, service: str) -> None:
        """Return when everything that the service knew at the time of the call is on disk.

        Raises:
            OSError: the disk is full.
        """
        await self._savers[service]()

    def save_soon(self, service: str) -> None:
        """Write a service's state shortly, once for all calls until then."""
        if service not in self._later or self._later[service].done():
            self._later[service] = asyncio.create_task(self._save_later(service))

    async def save_all(self) -> None:
        """Write everything: the last act of a clean stop."""
        for service in self._services:
            await self._save_quietly(service)

    async def _save(self, service: str) -> None:
        await asyncio.to_thread(self._write, service, self._snapshot(service))

    async def _save_later(self, service: str) -> None:
        await asyncio.sleep(_SOON)
        await self._save_quietly(service)

    async def _save_quietly(self, service: str) -> None:
        try:
            await self.save(service)
        except OSError as error:
            log.warning("the state of %s could not be written: %s", service, error)

    def _snapshot(self, service: str) -> Mapping[str, Any] | None:
        # Events are delivered by the emulator's own threads, so a queue may grow while it is being copied.
        for _ in range(_TRIES):
            try:
                return self._services[service]()
            except RuntimeError:
                continue
        return self._services[service]()

    def _write(self, service: str, state: Mapping[str, Any] | None) -> None:
        if state is None:
            return
        content = {"__ministack_format__": persistence._state_format_version(service), "payload": state}  # noqa: SLF001 - the emulator reads this file itself
        text = json.dumps(content, default=persistence._json_default)  # noqa: SLF001 - likewise
        write_file(self.folder / f"{service}.json", text.encode())
