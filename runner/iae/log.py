"""The log of a task: everything it prints, in order, up to a limit or a full disk; what lies beyond is counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CHUNK = 256 * 1024
"""The most that one live chunk carries, bytes."""

TAIL = 64 * 1024
"""How much of the end of an overlong log is kept, bytes."""

_LONGEST_LINE = 500


class TaskLog:
    """A file that grows to its limit, and a memory of the end for what does not fit.

    The live chunks, put together, are a prefix of the file. May be written and read by different threads. Writing never
    fails: a task whose disk is full must still tell how it ended.

    Args:
        path: the file.
        limit: the most bytes of output that are kept, besides the lines that say what is missing.

    Attributes:
        dropped: how many bytes of output are not in the file.
        disk_is_full: whether the disk refused some of them.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.dropped = 0
        self.disk_is_full = False
        self._file = path.open("w+b", buffering=0)
        self._lock = threading.Lock()
        self._kept = 0
        self._sent = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0

    def write(self, data: bytes) -> None:
        """Add output. Never waits, never refuses: a full log must not stop an analysis."""
        with self._lock:
            # Once something is missing nothing is added before the end, so that what is there stays in order.
            room = 0 if self.dropped else max(0, self.limit - self._kept)
            kept = self._append(data[:room])
            self._kept += kept
            if rest := data[kept:]:
                if not self.dropped and kept == room:
                    self._append(_line(f"the log is full ({self.limit} bytes): what follows is only counted"))
                self.dropped += len(rest)
                self._remember(rest)

    def say(self, text: str) -> None:
        """Add a line of the agent's own; the limit does not count it."""
        with self._lock:
            self._append(_line(text))

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # some file systems say only now that they had no room
            self._file.close()

    def finish(self) -> None:
        """Say what was left out, and add the end of it: that is where a failing program says why."""
        with self._lock:
            if not self.dropped:
                return
            end = b"".join(self._tail)[-TAIL:]
            missing = self.dropped - len(end)
            if missing:
                end = end[end.find(b"\n") + 1 :]
            self._append(_line(f"{self.dropped - len(end)} bytes are missing here; the end of the output follows"))
            self.dropped -= self._append(end)
            self._tail.clear()

    def next_chunk(self) -> bytes:
        """Return what was not yet sent, at most `CHUNK` bytes."""
        with self._lock:
            self._file.seek(self._sent)
            chunk = self._file.read(CHUNK) or b""
            self._file.seek(0, 2)
        return chunk

    def mark_sent(self, count: int) -> None:
        """Go on after the chunk that was sent."""
        self._sent += count

    def _append(self, data: bytes) -> int:
        """Add to the file; return how many bytes of it the disk took."""
        taken = 0
        try:
            # Unbuffered files may write less than they are given.
            while taken < len(data):
                taken += self._file.write(memoryview(data)[taken:])
        except OSError:
            self.disk_is_full = True
        return taken

    def _remember(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= TAIL:
            self._tail_size -= len(self._tail.popleft())


class LastLines:
    """The last lines of one stream, numbered from 1, as the status shows them.

    Args:
        count: how many to keep.
    """

    def __init__(self, count: int) -> None:
        self._lines: deque[str] = deque(maxlen=count)
        self._total = 0
        self._open = b""
        self._is_open = False
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        """Take output. A line that goes on grows; of one overwritten with carriage returns the last version counts."""
        with self._lock:
            if self._is_open:
                self._total -= 1
                self._lines.pop()
            lines = (self._open + data).split(b"\n")
            self._is_open = bool(lines[-1])
            self._open = lines[-1][-_LONGEST_LINE * 4 :]
            if not self._is_open:
                lines.pop()
            self._total += len(lines)
            for line in lines[-(self._lines.maxlen or 0) :]:
                last = line.rstrip(b"\r").rpartition(b"\r")[2]
                self._lines.append(last[: _LONGEST_LINE * 4].decode(errors="replace")[:_LONGEST_LINE])

    def numbered(self) -> Mapping[str, str]:
        """Return line number → line."""
        with self._lock:
            first = self._total - len(self._lines) + 1
            return {str(first + index): line for index, line in enumerate(self._lines)}

    def texts(self) -> list[str]:
        """Return the lines."""
        with self._lock:
            return list(self._lines)


class Splitter:
    """Cuts one stream into whole lines, so that two streams can share a log without tearing each other's lines."""

    LONGEST = 8192

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is complete: up to the last line end or carriage return."""
        whole = self._held + data
        cut = max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1
        if not cut and len(whole) > self.LONGEST:
            cut = len(whole)
        self._held = whole[cut:]
        return whole[:cut]

    def flush(self) -> bytes:
        """Return what is held back: the stream paused or ended inside a line."""
        held, self._held = self._held, b""
        return held


def _line(text: str) -> bytes:
    return f"[mayfly] {text}\n".encode(errors="replace")
