"""Run the analysis: one process tree, its output, its time limit, and nobody left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import IO

from runner.iae.ending import Ending, TaskError
from runner.iae.log import LastLines, Splitter, TaskLog
from runner.iae.processes import Family
from runner.iae.user import TASK_USER, User, start_as
from state.values import dataclass

GRACE_S = 5.0
"""Between the request to end and the kill."""

SAVE_SIGNAL = signal.SIGUSR1
"""What an entry point is sent when its machine is about to go; one that does not listen to it is left to work on."""

_TICK = 0.2
_DRAIN_S = 2.0
_KILL_S = 5.0
_READ = 64 * 1024
_ALLOWED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "TERM", "OMP_NUM_THREADS"})
_ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OPENBLAS_", "MKL_")


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How the analysis ended.

    Attributes:
        code: exit status; None when a signal ended it.
        signal: the signal that ended it, or 0.
        cause: None when it ended by itself; TIMED_OUT or STOPPED when we ended it.
        seconds: how long it ran.
    """

    code: int | None
    signal: int
    cause: Ending | None
    seconds: float

    def describe(self) -> str:
        """Say it in words."""
        if self.code is not None:
            return f"it ended with exit status {self.code}"
        name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else "an unknown signal"
        hints = {
            signal.SIGKILL: "; most often that is the machine running out of memory",
            signal.SIGSEGV: ": it used memory that is not its own (a crash in compiled code)",
            signal.SIGILL: ": it was compiled for another processor",
            signal.SIGABRT: ": it gave up by itself (a failed check in compiled code)",
            signal.SIGXFSZ: ": it wrote a file that is too large",
        }
        hint = next((text for number, text in hints.items() if number == self.signal), "")
        return f"it was ended by signal {self.signal} ({name}){hint}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the output of the analysis goes: all of it to the log, the last lines to the status."""

    log: TaskLog
    stdout: LastLines
    stderr: LastLines


def task_environment(environ: Mapping[str, str], home: Path, reason: Path) -> dict[str, str]:
    """Return the environment of the analysis: what it needs to run, and nothing that opens a door.

    Args:
        environ: the agent's own, of which only harmless names pass; credentials and endpoints do not.
        home: a folder the analysis may fill.
        reason: the file that the analysis may write one sentence to.
    """
    kept = {k: v for k, v in environ.items() if k in _ALLOWED or k.startswith(_ALLOWED_PREFIXES)}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **kept,
        "HOME": str(home),
        "TMPDIR": str(home),
        # Many programs ask who they are, and a user that is a number only has no other name.
        "USER": TASK_USER,
        "LOGNAME": TASK_USER,
        "MPLCONFIGDIR": str(home),
        "MPLBACKEND": "Agg",
        # A pipe makes Python hold back its output until the end; people want to watch.
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MAYFLY_REASON": str(reason),
    }


def run_analysis(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    user: User | None,
    limit_s: Callable[[], float],
    stopped: Callable[[], bool],
    family: Family,
    output: Output,
    grace_s: float = GRACE_S,
    time_to_save: Callable[[], float | None] = lambda: None,
) -> Exit:
    """Run a command until it ends, its time is over, or the machine is stopped; then end all that it started.

    The request to end (SIGTERM) goes to its process group; after `grace_s` every process of the family is killed,
    also those that moved to a session of their own.

    Its time is over after `limit_s()` seconds, which may grow while it runs.

    When the machine is about to go (`time_to_save` says how many seconds are left), the command is told by SIGUSR1, if
    it listens to that, and may save what it has.

    Raises:
        TaskError: the image has no such program.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            **start_as(user),
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"the environment cannot start `{command[0]}`: {getattr(error, 'strerror', None) or error}"
        raise TaskError(Ending.ENVIRONMENT_MISSING, reason) from error
    pump = _Pump(process, output)
    cause: Ending | None = None
    kill_at = 0.0
    told = False
    try:
        while True:
            pump.pump(_TICK)
            now = time.monotonic()
            ended = process.poll() is not None
            if ended and (cause is None or now >= kill_at or not family.members()):
                break
            left = time_to_save()
            if left is not None and not told:
                told = True
                if handles(process.pid, SAVE_SIGNAL):
                    os.kill(process.pid, SAVE_SIGNAL)
            out_of_time = now - started >= limit_s()
            if cause is None and (stopped() or out_of_time or (left is not None and left <= 0)):
                cause = Ending.STOPPED if stopped() else Ending.TIMED_OUT if out_of_time else Ending.INTERRUPTED
                kill_at = now + grace_s
                _signal_group(process.pid, signal.SIGTERM)
            elif cause is not None and now >= kill_at:
                _signal_group(process.pid, signal.SIGKILL)
                family.kill(signal.SIGKILL)
    finally:
        _end_all(process, family)
        pump.drain()
    code = process.returncode
    if told and cause is None and code != 0:
        cause = Ending.INTERRUPTED  # it saved what it has, and went
    return Exit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else 0,
        cause=cause,
        seconds=time.monotonic() - started,
    )


@dataclass(kw_only=True)
class _Stream:
    """One of the two outputs of a process."""

    pipe: IO[bytes]
    lines: LastLines
    splitter: Splitter = field(default_factory=Splitter)


class _Pump:
    """Carries the output of a process to where it goes, as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], output: Output) -> None:
        self._log = output.log
        self._selector = selectors.DefaultSelector()
        self._open: list[_Stream] = []
        for pipe, lines in ((process.stdout, output.stdout), (process.stderr, output.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                stream = _Stream(pipe=pipe, lines=lines)
                self._open.append(stream)
                self._selector.register(pipe, selectors.EVENT_READ, stream)

    def pump(self, wait_s: float) -> bool:
        """Carry what is there, waiting for it at most `wait_s`; return whether there was something."""
        if not self._open:
            time.sleep(min(wait_s, 0.02))  # both streams are closed, the process is about to end
            return False
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            self._read(key.data)
        if not ready:
            # A pause: show what was printed of a line that is not complete yet.
            for stream in self._open:
                self._carry(stream.splitter.flush(), stream)
        return bool(ready)

    def drain(self) -> None:
        """Carry what is left in the pipes. A process that escaped may hold them open for ever: do not wait for it."""
        end = time.monotonic() + _DRAIN_S
        while self._open and time.monotonic() < end and self.pump(0.05):
            pass
        for stream in list(self._open):
            self._close(stream)
        self._selector.close()

    def _read(self, stream: _Stream) -> None:
        try:
            data = os.read(stream.pipe.fileno(), _READ)
        except BlockingIOError:
            return
        if data:
            self._carry(stream.splitter.feed(data), stream)
        else:
            self._close(stream)

    def _carry(self, data: bytes, stream: _Stream) -> None:
        if data:
            self._log.write(data)
            stream.lines.feed(data)

    def _close(self, stream: _Stream) -> None:
        self._carry(stream.splitter.flush(), stream)
        self._selector.unregister(stream.pipe)
        self._open.remove(stream)
        stream.pipe.close()


def handles(pid: int, number: signal.Signals, proc: Path = Path("/proc")) -> bool:
    """Whether a process listens to a signal; the kernel ends one that does not."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (proc / str(pid) / "status").read_text().splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
    return False


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _end_all(process: subprocess.Popen[bytes], family: Family) -> None:
    """Kill whatever the command left, again and again until nothing is left or nothing helps."""
    _signal_group(process.pid, signal.SIGKILL)
    end = time.monotonic() + _KILL_S
    while family.members() and time.monotonic() < end:
        family.kill(signal.SIGKILL)
        family.collect(process.pid)
        time.sleep(0.01)
    process.wait()
    family.collect(process.pid)
