"""What instances print: the last 64 KiB of each, as EC2 keeps it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from state.files import write_whole

log = logging.getLogger("mayfly.localcloud")
KEPT = 64 << 10
_EVERY = 1.0
"""Seconds between two writings of a console that grows."""
_CHUNK = 64 << 10


class Console:
    """The console of one instance.

    Attributes:
        file: where it is kept, for after the instance and after a restart.
    """

    def __init__(self, file: Path) -> None:
        """Keep nothing yet."""
        self.file = file
        self._kept = b""
        self._written = 0.0

    @property
    def text(self) -> bytes:
        """The last that was printed."""
        return self._kept

    def add(self, printed: bytes) -> None:
        """Add to the end."""
        self._kept = (self._kept + printed)[-KEPT:]

    async def follow(self, stream: asyncio.StreamReader) -> None:
        """Take in everything until the end of a stream, and write it down from time to time."""
        loop = asyncio.get_running_loop()
        while printed := await stream.read(_CHUNK):
            self.add(printed)
            if loop.time() - self._written > _EVERY:
                self._written = loop.time()
                self.write()
        self.write()

    def write(self) -> None:
        """Write it down; a full disk costs the console only."""
        try:
            # Not seen onto the disk: everything else would wait while dozens of machines boot and print.
            write_whole(self.file, self._kept, mode=0o600, sync=False)
        except OSError as error:
            log.warning("the console %s could not be written: %s", self.file, error)
