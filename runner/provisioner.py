"""What the runner asks of Terraform, as an interface and as values: the real one and the tests' fake keep to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner.events import Event

OnEvent = Callable[[Event], None]
Stop = Callable[[], bool]
"""Asked several times a second; once it says True, the command is interrupted. `threading.Event.is_set` is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One resource that a plan changes.

    Attributes:
        address: for example `module.job.aws_instance.task["0"]`.
        action: `create`, `update`, `delete`, `replace` …
    """

    address: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """What a plan would do.

    Attributes:
        changes: one per resource, in Terraform's order.
        drift: resources that were changed behind Terraform's back.
    """

    add: int
    change: int
    destroy: int
    changes: tuple[PlannedChange, ...] = ()
    drift: tuple[PlannedChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be done."""
        return not (self.add or self.change or self.destroy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplySummary:
    """What an apply or a destroy did.

    Attributes:
        seconds: wall time, without waiting for a slot.
        outputs: values by name; a sensitive one is None. Empty after a destroy.
        planned: what it set out to do, one per resource; empty when that was planned before.
    """

    add: int
    change: int
    destroy: int
    seconds: float
    outputs: dict[str, Any] = field(default_factory=dict)
    planned: tuple[PlannedChange, ...] = ()


class Provisioner(Protocol):
    """Terraform, as the runner uses it. Every method raises TerraformError when Terraform fails."""

    def lock_file(self) -> str:
        """Return the text of the provider lock that workspaces get."""

    def prepare(self, root: Path) -> None:
        """Make a root without a backend block ready, instead of `init`. May be repeated."""

    def init(self, root: Path, backend: Mapping[str, str]) -> None:
        """Initialise a root with a backend block; `backend` holds its settings."""

    def validate(self, root: Path) -> None:
        """Check the root's code."""

    def plan(
        self,
        root: Path,
        out: Path | None = None,
        refresh: bool = True,
        on_event: OnEvent | None = None,
        *,
        log: Path | None = None,
        stop: Stop | None = None,
    ) -> PlanSummary:
        """Tell what an apply would do; keep the plan in `out`."""

    def apply(
        self,
        root: Path,
        parallelism: int = 10,
        on_event: OnEvent | None = None,
        log: Path | None = None,
        *,
        plan: Path | None = None,
        refresh: bool = True,
        stop: Stop | None = None,
    ) -> ApplySummary:
        """Make what the root says, or just what `plan` says; append every line Terraform says to `log`."""

    def destroy(
        self,
        root: Path,
        parallelism: int = 10,
        on_event: OnEvent | None = None,
        log: Path | None = None,
        refresh: bool = True,
        *,
        stop: Stop | None = None,
    ) -> ApplySummary:
        """Remove all that the root's state knows."""

    def output(self, root: Path) -> dict[str, Any]:
        """Return the root's outputs, values by name."""

    def show(self, root: Path, plan: Path | None = None) -> dict[str, Any]:
        """Return Terraform's JSON description of a kept plan, or of the state."""

    def forget(self, root: Path, addresses: Sequence[str]) -> None:
        """Take resources out of the root's state, so that an apply makes them anew; they stay as they are."""

    def accept(self, root: Path, addresses: Sequence[str]) -> None:
        """Take resources that Terraform gave up on while it made them as they are: an apply does not replace them."""

    def unlock(self, root: Path, lock: str) -> None:
        """Break the lock on a root's state. Only for one whose holder is known to be dead."""

    def pull_state(self, root: Path) -> str:
        """Return the root's state as Terraform keeps it, JSON; empty when there is none."""
