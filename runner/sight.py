"""When a job could not be looked at: the time in which its silence means nothing."""

from __future__ import annotations

from datetime import datetime

from runner.monitor import Gap


class Sight:
    """Remembers the gaps between looks of which at least one failed.

    Attributes:
        gaps: from when until when nothing could be seen, in order.
    """

    def __init__(self, now: datetime) -> None:
        """Begin at `now`, with open eyes."""
        self.gaps: list[Gap] = []
        self._seen, self._asked = now, 0

    @property
    def is_lost(self) -> bool:
        """Whether the last look failed."""
        return self._asked > 0

    def ask(self) -> None:
        """Note that a look begins."""
        self._asked += 1

    def see(self, now: datetime) -> None:
        """Note that it succeeded; all before it that did not are one gap."""
        if self._asked > 1:
            self.gaps.append((self._seen, now))
        self._seen, self._asked = now, 0
