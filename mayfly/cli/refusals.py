"""Two views of `mayfly jobs`: what was refused and why, and what runs and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from mayfly.cli.output import show_json, show_table
from runner.pricing import format_money
from state.inbox import Inbox
from state.job import JobStatus
from state.ledger import Ledger
from state.record import JobRecord


def show_rejected(ledger: Ledger, *, group: str | None, analysis: str | None, limit: int, as_json: bool) -> None:
    """Print refused jobs, files that led to no job, and messages that nobody could read; the newest first."""
    inbox = Inbox(ledger.engine)
    records = ledger.jobs(group=group, analysis=analysis, statuses=[JobStatus.REJECTED], limit=limit)
    found = [(r.submitted, "job", r.id, r.ending.reason if r.ending else "") for r in records]
    found += [
        (one.at, "file", f"s3://{one.source.bucket}/{one.source.key}", one.result)
        for one in inbox.closed_without_job(limit)
        if analysis is None
        and group in {None, one.source.key.partition("/")[0]}
        and not one.result.startswith("stops ")
    ]
    if group is None and analysis is None:
        found += [
            (one.seen, "message", one.id, f"{one.reason} (delivered {one.attempts} times): {one.body[:80]!r}")
            for one in inbox.letters(limit)
        ]
    found = sorted(found, reverse=True)[:limit]
    if as_json:
        show_json([{"at": at, "kind": kind, "name": name, "reason": reason} for at, kind, name, reason in found])
        return
    rows = [(f"{at.astimezone():%Y-%m-%d %H:%M:%S}", kind, name, reason) for at, kind, name, reason in found]
    show_table(("when", "what", "name", "reason"), rows, empty="Nothing was refused.")


def show_costs(ledger: Ledger, records: Sequence[JobRecord], *, as_json: bool) -> None:
    """Print what jobs that have not ended have cost until this moment, and the most that they may."""
    costs = ledger.running_costs(datetime.now(UTC))
    found = [(record, costs.get(record.id, Decimal(0))) for record in records]
    if as_json:
        show_json(
            [{"job": r.id, "group": r.group, "status": r.status, "cost_usd": c, "bound_usd": r.bound} for r, c in found]
        )
        return
    rows = [(r.id, r.group, r.status, format_money(cost), f"≤ {format_money(r.bound)}") for r, cost in found]
    show_table(("job", "group", "status", "until now", "at most"), rows, empty="No job runs.")
