"""What Terraform says while it works: its `-json` lines as values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """What a line is about; what is not of interest is LOG."""

    PLANNED = "planned"
    DRIFT = "drift"
    APPLY_START = "apply_start"
    APPLY_PROGRESS = "apply_progress"
    APPLY_COMPLETE = "apply_complete"
    APPLY_ERRORED = "apply_errored"
    SUMMARY = "change_summary"
    OUTPUTS = "outputs"
    DIAGNOSTIC = "diagnostic"
    LOG = "log"


KINDS = {
    "planned_change": EventKind.PLANNED,
    "resource_drift": EventKind.DRIFT,
    "apply_start": EventKind.APPLY_START,
    "apply_progress": EventKind.APPLY_PROGRESS,
    "apply_complete": EventKind.APPLY_COMPLETE,
    "apply_errored": EventKind.APPLY_ERRORED,
    "change_summary": EventKind.SUMMARY,
    "outputs": EventKind.OUTPUTS,
    "diagnostic": EventKind.DIAGNOSTIC,
}
"""Terraform's names of the line types to ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How many resources a plan or an apply concerns.

    Attributes:
        operation: `plan`, `apply` or `destroy`.
    """

    operation: str
    add: int
    change: int
    destroy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """An error or a warning.

    Attributes:
        severity: `error` or `warning`.
        summary: Terraform's headline.
        detail: its explanation, possibly several paragraphs.
        address: the resource it is about, or empty.
        place: `file:line` within the root, or empty.
    """

    severity: str
    summary: str
    detail: str = ""
    address: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Return one line: headline, explanation, where."""
        text = ": ".join(filter(None, [self.summary.strip(), " ".join(self.detail.split())]))
        where = ", ".join(filter(None, [self.address, self.place]))
        return f"{text} ({where})" if where else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that Terraform said.

    Attributes:
        kind: what it is about.
        message: the sentence Terraform would print.
        time: when it was said, UTC; None for a line without a time.
        address: the resource, or empty.
        action: `create`, `update`, `delete`, `replace`, `read`, `noop` … or empty.
        resource_id: the real thing's id, when an apply is complete.
        seconds: how long the resource takes so far.
        changes: of a SUMMARY.
        outputs: values by name, of OUTPUTS; a sensitive one is None.
        diagnostic: of a DIAGNOSTIC.
    """

    kind: EventKind
    message: str
    time: datetime | None = None
    address: str = ""
    action: str = ""
    resource_id: str = ""
    seconds: float = 0.0
    changes: Changes | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    diagnostic: Diagnostic | None = None


def parse_event(line: str) -> Event | None:
    """Read one line of `-json` output; None when it is no such line (a crash, a warning about the CLI config)."""
    if not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or "@message" not in said:
        return None
    kind = KINDS.get(str(said.get("type")), EventKind.LOG)
    about = said.get("hook") or said.get("change") or {}
    return Event(
        kind=kind,
        message=str(said["@message"]).strip(),
        time=_time(said.get("@timestamp")),
        address=str((about.get("resource") or {}).get("addr") or ""),
        action=str(about.get("action") or ""),
        resource_id=str(about.get("id_value") or ""),
        seconds=float(about.get("elapsed_seconds") or 0),
        changes=_changes(said["changes"]) if kind is EventKind.SUMMARY else None,
        outputs={n: o.get("value") for n, o in said["outputs"].items()} if kind is EventKind.OUTPUTS else {},
        diagnostic=parse_diagnostic(said["diagnostic"]) if kind is EventKind.DIAGNOSTIC else None,
    )


def parse_diagnostic(said: dict[str, Any]) -> Diagnostic:
    """Read a diagnostic as the event lines and `validate -json` write it."""
    where = said.get("range") or {}
    line = (where.get("start") or {}).get("line")
    return Diagnostic(
        severity=str(said.get("severity") or "error"),
        summary=str(said.get("summary") or ""),
        detail=str(said.get("detail") or ""),
        address=str(said.get("address") or ""),
        place=f"{where['filename']}:{line}" if line and where.get("filename") else "",
    )


def _changes(said: dict[str, Any]) -> Changes:
    """Read the counts of a summary."""
    return Changes(
        operation=str(said.get("operation") or ""),
        add=int(said.get("add") or 0),
        change=int(said.get("change") or 0),
        destroy=int(said.get("remove") or 0),
    )


def _time(text: object) -> datetime | None:
    """Read Terraform's time stamp, which has nanoseconds or none."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None
