"""One Terraform command from its command line to a result: in a slot, heard line by line, errors in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runner.events import Changes, Diagnostic, Event, EventKind, parse_event
from runner.failures import explain_failure
from runner.process import Finished, LineTaker, run
from runner.provisioner import OnEvent, PlannedChange, Stop
from runner.slots import Slots
from state.errors import TerraformError

FIRST_LINES = 8
"""Lines kept of what is no event; a crash of Terraform says what it is in the first of them."""


class Watch:
    """Reads the lines of one command: hands on events, and keeps what its result is made of."""

    def __init__(self, on_event: OnEvent | None = None) -> None:
        """Hand events to `on_event` as they come."""
        self._on_event = on_event
        self.changes: Changes | None = None
        self.planned: list[PlannedChange] = []
        self.drift: list[PlannedChange] = []
        self.outputs: dict[str, Any] = {}
        self.errors: list[Diagnostic] = []
        self.said: list[str] = []

    def __call__(self, line: str, *, error: bool) -> None:
        """Take one line."""
        event = None if error else parse_event(line)
        if event is not None:
            self._keep(event)
            if self._on_event is not None:
                self._on_event(event)
        elif line.strip() and len(self.said) < FIRST_LINES:
            self.said.append(line.strip())

    def _keep(self, event: Event) -> None:
        """Keep what the result is made of."""
        if event.diagnostic is not None and event.diagnostic.severity == "error":
            self.errors.append(event.diagnostic)
        elif event.kind is EventKind.PLANNED:
            self.planned.append(PlannedChange(address=event.address, action=event.action))
        elif event.kind is EventKind.DRIFT:
            self.drift.append(PlannedChange(address=event.address, action=event.action))
        elif event.kind is EventKind.SUMMARY:
            self.changes = event.changes
        elif event.kind is EventKind.OUTPUTS:
            self.outputs = event.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How commands are run.

    Attributes:
        environment: the whole environment of the program.
        slots: limits how many heavy commands run at once; None for no limit.
        grace_s: seconds from the interrupt to the kill.
    """

    environment: Mapping[str, str]
    slots: Slots | None
    grace_s: float

    def follow(
        self,
        command: Sequence[str],
        root: Path,
        watch: Watch,
        *,
        heavy: bool,
        log: Path | None = None,
        stop: Stop | None = None,
        timeout_s: float | None = None,
    ) -> Finished:
        """Run a command that talks in events; in a slot when it is heavy.

        Raises:
            TerraformError: it failed, was stopped, or could not be started.
        """
        name = command[1]
        with ExitStack() as stack:
            wanted = self.slots if heavy else None
            stack.enter_context(wanted.take(destroy=name == "destroy", stop=stop) if wanted else nullcontext())
            file = stack.enter_context(_open(log, name)) if log is not None else None
            finished = self._start(command, root, watch, log=file, stop=stop, timeout_s=timeout_s)
        if finished.code != 0:
            raise failure(name, root, finished, errors=watch.errors, said=watch.said, log=log)
        return finished

    def collect(self, command: Sequence[str], root: Path) -> tuple[Finished, str, list[str]]:
        """Run a command; return how it ended, its stdout, and the lines of its stderr."""
        lines: dict[bool, list[str]] = {False: [], True: []}

        def keep(line: str, *, error: bool) -> None:
            lines[error].append(line)

        finished = self._start(command, root, keep)
        return finished, "\n".join(lines[False]), lines[True]

    def read(self, command: Sequence[str], root: Path) -> str:
        """Run a command and return what it prints.

        Raises:
            TerraformError: it failed.
        """
        finished, text, said = self.collect(command, root)
        if finished.code != 0:
            raise failure(command[1], root, finished, said=said)
        return text

    def _start(
        self,
        command: Sequence[str],
        root: Path,
        take: LineTaker,
        *,
        log: IO[bytes] | None = None,
        stop: Stop | None = None,
        timeout_s: float | None = None,
    ) -> Finished:
        """Run a command line in a root."""
        if not root.is_dir():
            raise TerraformError(f"{root}: there is no such folder for terraform {command[1]}.", command=command[1])
        return run(
            command,
            cwd=root,
            env=self.environment,
            take=take,
            log=log,
            stop=stop,
            grace_s=self.grace_s,
            timeout_s=timeout_s,
        )


def failure(
    name: str,
    root: Path,
    finished: Finished,
    *,
    errors: Sequence[Diagnostic] = (),
    said: Sequence[str] = (),
    log: Path | None = None,
) -> TerraformError:
    """Return the error of a command that failed."""
    return TerraformError(
        explain_failure(name, root, finished, errors, [line for line in said if line.strip()]),
        command=name,
        diagnostics=[str(one) for one in errors],
        log=str(log or ""),
    )


def _open(log: Path, name: str) -> IO[bytes]:
    """Open a log for appending."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a full disk did not take must not be tried again, and fail, when the log is closed.
        return log.open("ab", buffering=0)
    except OSError as error:
        raise TerraformError(
            f"{log}: the log cannot be written ({error.strerror}); nothing was started.", command=name
        ) from error
