"""A list that all processes of a run share, on a disk, for they do not live long."""

from __future__ import annotations

import fcntl
from pathlib import Path


class Book:
    """Lines, each of which is written once in a whole run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()

    def add(self, line: str) -> bool:
        """Write a line; return whether nobody did before."""
        if line in self._known:
            return False
        with self._path.open("a+") as book:
            fcntl.flock(book, fcntl.LOCK_EX)
            book.seek(0)
            self._known = set(book.read().splitlines())
            if line in self._known:
                return False
            book.write(line + "\n")
            book.flush()
        self._known.add(line)
        return True

    def lines(self) -> list[str]:
        """Return what is written, sorted; nothing while there is no book."""
        return sorted(self._path.read_text().splitlines()) if self._path.exists() else []
