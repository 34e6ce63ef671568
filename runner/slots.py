"""How many Terraforms run at once on this machine, over all processes, with one lane always free for a destroy."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from state.errors import TerraformError

MEMORY = 600 * 2**20
"""Private memory of one Terraform with its AWS provider, bytes; measured 330 MB, and 200 more with GOGC=400."""
PER_CORE = 3
"""A Terraform computes for about 4 s of the 13 s that a job's apply takes; the rest is waiting for AWS."""
MOST = 64
POLL_S = 0.25
"""How often another process's lanes are looked at, seconds."""


def count_lanes() -> int:
    """Return how many Terraforms this machine carries, the lane of destroys included; at least two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    by_memory = int(psutil.virtual_memory().available * 0.7) // MEMORY
    return max(2, min(PER_CORE * cores, by_memory, MOST))


class Slots:
    """A semaphore made of lock files, so that all workers on a machine share it and a dead one gives back its lanes."""

    def __init__(self, folder: Path, lanes: int | None = None) -> None:
        """Use the lock files of a folder.

        Args:
            folder: any folder that the processes share; made if need be.
            lanes: how many; counted from cores and free memory when None. The last one is for destroys only.
        """
        self._folder = folder
        self.lanes = max(2, lanes or count_lanes())
        self._freed = threading.Condition()

    @contextmanager
    def take(self, *, destroy: bool = False, stop: Callable[[], bool] | None = None) -> Iterator[int]:
        """Hold a lane; wait until there is one. A destroy may also use the lane that is kept for it.

        Raises:
            TerraformError: `stop` said so while it was waiting.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        usable = range(self.lanes if destroy else self.lanes - 1)
        held = self._try(usable)
        while held is None:
            if stop is not None and stop():
                raise TerraformError("stopped while waiting for other Terraforms to end; nothing was started")
            with self._freed:
                self._freed.wait(POLL_S)
            held = self._try(usable)
        lane, file = held
        try:
            yield lane
        finally:
            file.close()
            with self._freed:
                self._freed.notify()

    def _try(self, usable: range) -> tuple[int, IO[str]] | None:
        """Lock a free lane, if there is one. A destroy tries the lane of its own last, to leave it to others."""
        for lane in usable:
            file = (self._folder / f"{lane}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return lane, file
        return None
