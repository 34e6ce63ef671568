"""When to stop: a clock, a deadline, and patience with a store that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol, TypeVar

from runner.iae.ending import Ending, TaskError
from runner.iae.store import StoreError

T = TypeVar("T")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> datetime:
        """Return the time of day, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until the event is set or the time has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time of day, UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until the event is set or the time has passed."""
        event.wait(seconds)


class Halt:
    """Tells whether work must end now: the machine is being stopped, or the deadline is reached.

    Args:
        clock: the time.
        deadline: when to give up.
        stop: set when the machine is told to stop.
        notice: returns the error to end with once the machine is about to go.
        granted: returns the seconds by which the deadline has moved since.
    """

    def __init__(
        self,
        clock: Clock,
        deadline: datetime,
        stop: threading.Event,
        notice: Callable[[], TaskError | None] = lambda: None,
        granted: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = clock
        self._notice = notice
        self._granted = granted
        self.stop = stop
        self._end = clock.monotonic() + (deadline - clock.now()).total_seconds()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._end + self._granted() - self.clock.monotonic()

    def check(self) -> None:
        """Raise when work must end.

        Raises:
            TaskError: stopped or timed out.
        """
        if self.stop.is_set():
            raise TaskError(Ending.STOPPED, "the machine was told to stop before the task was done")
        if (error := self._notice()) is not None:
            raise error
        if self.remaining <= 0:
            raise TaskError(Ending.TIMED_OUT, "the deadline of the task was reached")

    def persist(self, action: Callable[[], T], on_trouble: Callable[[str], None]) -> T:
        """Repeat an action while the store fails in a way that may pass, with growing pauses.

        Args:
            action: what to do.
            on_trouble: told why it is tried again.

        Raises:
            StoreError: a failure that will not pass, or the last one before the deadline.
            TaskError: the machine is being stopped.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return action()
            except StoreError as error:
                if not error.retryable:
                    raise
                on_trouble(str(error))
                self.clock.wait(self.stop, max(0.0, min(pause, self.remaining)))
                if self.remaining <= 0:
                    raise
            if self.stop.is_set():
                self.check()
            pause = min(pause * 2, LONGEST_PAUSE)
