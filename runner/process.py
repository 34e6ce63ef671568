"""One child process, watched line by line: interrupted once, given time, killed with all its children if need be.

Its output goes into files in memory, not into pipes: a Go program that writes into the pipe of a dead parent is killed
by that, so Terraform would never get to save its state after the interrupt that the kernel sends it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from runner import tether

POLL_S = 0.1
"""How often output and `stop` are looked at, seconds. The child's end is noticed at once."""
CHUNK = 1 << 20


class LineTaker(Protocol):
    """Takes the child's lines, without their line ends."""

    def __call__(self, line: str, *, error: bool) -> None:
        """Take a line of stdout, or of stderr when `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a child ended.

    Attributes:
        code: its exit status; the negative number of the signal that ended it.
        interrupted: `stop` asked for its end.
        timed_out: its time was up.
        killed: it did not end within its grace, and was killed.
        seconds: wall time.
    """

    code: int
    interrupted: bool
    timed_out: bool
    killed: bool
    seconds: float


class _Output:
    """What the child writes to one of its streams."""

    def __init__(self, name: str) -> None:
        self._name = name
        # The child writes at the position that it shares with this file; reading leaves that alone.
        self.file: IO[bytes] = (
            os.fdopen(os.memfd_create(name), "w+b", buffering=0)
            if hasattr(os, "memfd_create")
            else tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed when the child is reaped
        )
        self._read = 0
        self._rest = b""

    def new_lines(self, *, last: bool) -> list[bytes]:
        """Return the lines that have come; a line without its end only when it is the `last` time."""
        while data := os.pread(self.file.fileno(), CHUNK, self._read):
            self._read += len(data)
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return lines


class _Child:
    """The process and its output."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: IO[bytes] | None) -> None:
        self._log = log
        self._out, self._err = _Output("out"), _Output("err")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._out.file,
            stderr=self._err.file,
            process_group=0,
        )
        self._pidfd = _open_pidfd(self._process.pid)
        self.interrupted_at: float | None = None
        self.killed = False

    def wait_a_moment(self) -> bool:
        """Wait for its end, but not long; tell whether it has ended.

        It is not reaped yet: until then its process group cannot become somebody else's.
        """
        if self._pidfd is None:
            time.sleep(POLL_S)
        else:
            select.select([self._pidfd], [], [], POLL_S)
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def hand_on(self, take: LineTaker, *, last: bool = False) -> None:
        """Hand on what it has said since the last time."""
        for output in (self._err, self._out):
            lines = output.new_lines(last=last)
            self._keep(lines)
            for line in lines:
                take(line.decode(errors="replace"), error=output is self._err)

    def _keep(self, lines: list[bytes]) -> None:
        """Append lines to the log. A full disk must not stop a Terraform in the middle of its work."""
        if self._log is not None and lines:
            try:
                self._log.write(b"\n".join([*lines, b""]))
                self._log.flush()
            except OSError:
                self._log = None

    def interrupt(self) -> None:
        """Ask for its end, once: Terraform takes a second SIGINT as leave to drop its state."""
        if self.interrupted_at is None:
            self.interrupted_at = time.monotonic()
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it and all that it started."""
        self.killed = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill_after(self, grace_s: float) -> None:
        """Kill it if it was interrupted longer ago than its grace, seconds."""
        since = self.interrupted_at
        if since is not None and not self.killed and time.monotonic() - since > grace_s:
            self.kill()

    def reap(self, take: LineTaker) -> int:
        """Kill what it left behind, hand on what it said last, and return the exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
        try:
            self.hand_on(take, last=True)
        finally:
            self._out.file.close()
            self._err.file.close()
        return code


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when a process ends; None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    take: LineTaker,
    log: IO[bytes] | None = None,
    stop: Callable[[], bool] | None = None,
    grace_s: float,
    timeout_s: float | None = None,
) -> Finished:
    """Run a program in a process group of its own, so that a Ctrl-C in a terminal reaches us and not it.

    It is sent SIGINT once when `stop` says so, when its time is up, when `take` raises, when this thread is
    interrupted, and by the kernel when this thread dies; after `grace_s` more seconds, or when this thread is
    interrupted again, it is killed with all its children. Nothing of it runs any more when this returns or raises.

    Raises:
        OSError: the folder or the program is not there.
        BaseException: what `take` or `stop` raised, after the child has ended.
    """
    started = time.monotonic()
    child = _Child(command, cwd=cwd, env=env, log=log)
    raised: BaseException | None = None
    interrupted = timed_out = False
    while True:
        try:
            ended = child.wait_a_moment()
            child.hand_on(take)
            if ended:
                break
            child.kill_after(grace_s)
            if child.interrupted_at is None:
                interrupted = stop is not None and stop()
                timed_out = timeout_s is not None and time.monotonic() - started > timeout_s
                if interrupted or timed_out:
                    child.interrupt()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the child must end first
            if raised is None:
                raised, take = error, _drop
                child.interrupt()
            else:
                child.kill()
    code = child.reap(take)
    if raised is not None:
        raise raised
    return Finished(
        code=code,
        interrupted=interrupted,
        timed_out=timed_out,
        killed=child.killed,
        seconds=time.monotonic() - started,
    )


def _drop(line: str, *, error: bool) -> None:
    """Take a line and forget it; it is in the log."""
