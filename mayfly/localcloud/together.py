"""Work that many callers want done at the same time, done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Together:
    """Does something for whoever asks; those who ask while it is being done share the next doing.

    Each caller returns when it was done once from beginning to end after the call, so what the caller changed before is
    covered. An error is the caller's during whose turn it came; the others try themselves.
    """

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do nothing yet."""
        self._act = act
        self._asked = self._done = 0
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Return when it has been done.

        Raises:
            Exception: whatever doing it raises.
        """
        self._asked += 1
        wanted = self._asked
        async with self._turn:
            if self._done >= wanted:
                return
            covers = self._asked
            await self._act()
            self._done = covers
