"""The platform as its files say now: read again when one of them changes, so that nothing needs a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from compiler.deployment import DEPLOYMENT_FILE
from compiler.model import Platform
from state.errors import MayflyError

LOOK_S = 1.0
"""How long the files are taken for unchanged: a large project has thousands, and several threads ask."""

log = logging.getLogger(__name__)


class LivePlatform:
    """Returns the platform. While a file is being edited and is wrong, the last good one stays in force."""

    def __init__(
        self, project: Path, load: Callable[[Path], Platform], *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the files of `project`; `timer` counts seconds.

        Raises:
            SourcesError: they are wrong at the start.
        """
        self._project, self._load, self._timer = project, load, timer
        self._lock, self._due = threading.Lock(), timer() + LOOK_S
        self._stamp = self._look()
        self._platform = load(project)

    def __call__(self) -> Platform:
        """Return the platform as it stands now."""
        with self._lock:
            if self._timer() >= self._due:
                self._refresh()
                self._due = self._timer() + LOOK_S
            return self._platform

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._platform = self._load(self._project)
            log.info("blueprints or profiles changed: read again")
        except MayflyError as error:
            log.warning("the changed files are not used: %s", error)

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        files = [self._project / DEPLOYMENT_FILE]
        files += sorted((self._project / "users").glob("*.yaml"))
        files += sorted((self._project / "blueprints").glob("*/**/*"))
        stats = []
        for file in files:
            try:
                found = file.stat()
            except FileNotFoundError:  # removed between the listing and the look
                continue
            stats.append((str(file), found.st_mtime_ns, found.st_size))
        return tuple(stats)
