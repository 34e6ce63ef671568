"""What the machine hears while it works: AWS takes it back; the platform lives; it shall stop; it may run longer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from runner.iae.ending import Ending
from runner.iae.halt import Clock
from runner.iae.manifest import Manifest
from runner.iae.store import Store, StoreError
from state.values import dataclass

LOOK_S = 5.0
"""Seconds between two looks; AWS asks for this pace, so that of its two minutes of notice none is lost."""
PLATFORM_LOOKS = 3
"""The platform is asked at every third look."""
HEARD, DEADLINE = "heard", "deadline"
"""What the machine's own timer reads: seconds since boot at the platform's last sign of life, and a later deadline,
seconds since 1970."""
SPOT_ACTION = "spot/instance-action"
SAVE_S = 40.0
"""Of the time that is left, what stays for uploading; the rest is the analysis's own, to save what it has."""
_NOTICE_LIMIT = 16 * 1024
_LAST_S = 120.0
_UPTIME = Path("/proc/uptime")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """The machine is about to go.

    Attributes:
        ending: INTERRUPTED when AWS takes it back, STOPPED when the platform ends it.
        reason: in words.
        until: when it goes, UTC.
    """

    ending: Ending
    reason: str
    until: datetime


class Outlook:
    """A thread that listens. Nothing it hears, or does not hear, can fail the task.

    Args:
        manifest: the task.
        store: where the platform's sign of life is.
        clock: the time.
        ask_metadata: returns what the instance metadata service says about a path, empty when it says nothing.
        timer: folder of the files that the machine's own timer reads; None where there is no such timer.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        store: Store,
        clock: Clock,
        ask_metadata: Callable[[str], str],
        timer: Path | None,
    ) -> None:
        self.notice: Notice | None = None
        self.deadline = manifest.deadline
        self._manifest = manifest
        self._store = store
        self._clock = clock
        self._ask = ask_metadata
        self._timer = timer
        self._said = ""
        self._alive = clock.monotonic()
        self._looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlook", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._over.set()

    def granted(self) -> float:
        """Return the seconds that the task was granted since its machine was started."""
        return (self.deadline - self._manifest.deadline).total_seconds()

    def time_to_save(self) -> float | None:
        """Return the seconds that the analysis has left to save what it has; None while nothing is wrong."""
        if self.notice is None:
            return None
        return (self.notice.until - self._clock.now()).total_seconds() - SAVE_S

    def look(self) -> None:
        """Ask everybody once."""
        if self._looks % PLATFORM_LOOKS == 0 and self._manifest.platform:
            self._look_at_platform()
        self._looks += 1
        if self.notice is None:
            self.notice = read_spot_action(self._ask(SPOT_ACTION), self._clock.now())

    def _run(self) -> None:
        pause = min(LOOK_S, self._manifest.heartbeat_s * 2.5)
        while True:
            with suppress(Exception):
                self.look()
            if self._over.wait(pause):
                return

    def _look_at_platform(self) -> None:
        manifest, now = self._manifest, self._clock.monotonic()
        raw: Any = None
        with suppress(StoreError, ValueError):
            raw = json.loads(self._store.read(manifest.results.bucket, manifest.platform, _NOTICE_LIMIT))
        if isinstance(raw, dict):
            self._extend(_time(raw.get("deadline")))
            if raw.get("written") != self._said:
                self._said, self._alive = str(raw.get("written")), now
                self._tell_timer(HEARD, uptime())
            if self.notice is None and isinstance(raw.get("stop"), dict):
                self.notice = _read_stop(raw["stop"], self._clock.now())
        if self.notice is None and manifest.silence_s and now - self._alive > max(0.0, manifest.silence_s - _LAST_S):
            # A little before the machine's own timer, so that what was computed is not lost.
            minutes = manifest.silence_s / 60
            words = f"the platform gave no sign of life for {minutes:.0f} minutes"
            until = self._clock.now() + timedelta(seconds=_LAST_S)
            self.notice = Notice(ending=Ending.STOPPED, reason=words, until=until)

    def _extend(self, deadline: datetime | None) -> None:
        """Take a later deadline; one that was given is never taken back."""
        if deadline is not None and deadline > self.deadline:
            self._tell_timer(DEADLINE, int(deadline.timestamp()))  # first: it must not end what goes on
            self.deadline = deadline

    def _tell_timer(self, name: str, number: int) -> None:
        if self._timer is not None:
            with suppress(OSError):
                draft = self._timer / f"{name}.new"
                draft.write_text(f"{number}\n")
                draft.replace(self._timer / name)


def uptime() -> int:
    """Return the seconds since boot as the machine's timer counts them."""
    with suppress(OSError, ValueError, IndexError):
        return int(float(_UPTIME.read_text().split()[0]))
    return int(time.time())


def read_spot_action(text: str, now: datetime) -> Notice | None:
    """Return the notice in what the metadata service says, if there is one."""
    with suppress(ValueError, AttributeError):
        raw = json.loads(text)
        if raw.get("action") in {"terminate", "stop", "hibernate"}:
            until = _time(raw.get("time")) or now + timedelta(minutes=2)
            return Notice(ending=Ending.INTERRUPTED, reason="AWS takes this spot machine back", until=until)
    return None


def timer_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the machine's own timer."""
    name = environ.get("MAYFLY_TIMER", "")
    return Path(name) if name else None


def _read_stop(raw: dict[str, Any], now: datetime) -> Notice:
    reason = str(raw.get("reason") or "the platform asked the machine to stop")[:1000]
    return Notice(ending=Ending.STOPPED, reason=reason, until=_time(raw.get("due")) or now)


def _time(text: object) -> datetime | None:
    with suppress(ValueError):
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return None
