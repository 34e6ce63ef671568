"""Looking after a job while Terraform is busy with it: machines start to work long before an apply returns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType

log = logging.getLogger(__name__)


class Attendant:
    """While it is open, looks again and again, and sets its event once a look says that Terraform shall stop."""

    def __init__(self, look: Callable[[], bool], *, every_s: float) -> None:
        """Call `look` every `every_s` seconds, in a thread; True means stop."""
        self._look, self._every_s = look, every_s
        self._over, self._stop = Event(), Event()
        self._thread = Thread(target=self._run, name="attendant", daemon=True)

    def __enter__(self) -> Event:
        """Start looking; return the event."""
        self._thread.start()
        return self._stop

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                if self._look():
                    self._stop.set()
                    return
            except Exception:  # a busy database or a slow answer of S3 must not end the looking
                log.exception("looking after a job failed")
            if self._over.wait(self._every_s):
                return
