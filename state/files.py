"""Files that other processes read, or that must outlive a crash: written whole, and held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path
from uuid import uuid4

DRAFT = ".tmp"
"""How the name of a half written file ends; a crash may leave one."""


def write_whole(path: Path, content: str | bytes | mmap, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write a file whole or not at all, and see it onto the disk before it counts.

    Several processes may write it at once: the last one wins.

    Args:
        path: the file; its folder must be there.
        content: text is written as UTF-8, with its line ends as they are.
        mode: permissions of the file, less those that the umask takes away.
        sync: whether it must outlive a power cut; that takes milliseconds, and longer on a busy disk.

    Raises:
        OSError: the disk is full or the folder is gone; the old content stands.
    """
    draft = path.with_name(f".{uuid4().hex}{DRAFT}")  # not made of the name, which may be as long as names can be
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync:
                os.fdatasync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def _wait(_: str) -> None:
    """Let `hold` wait."""


@contextmanager
def hold(path: Path, busy: Callable[[str], None] = _wait) -> Iterator[None]:
    """Hold a lock file. The lock is the kernel's and dies with its process, however that ends.

    Args:
        path: made when missing, and left behind empty; its folder must be there. While it is held it says by whom.
        busy: told the id of the process that holds it; it raises in order to give up, and returns in order to wait.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            busy(file.read().strip() or "?")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        with suppress(OSError):  # a full disk: the name is for people, the lock holds without it
            file.write(str(os.getpid()))
            file.flush()
        try:
            yield
        finally:
            file.truncate(0)
