"""Commands about money and turns: what a group has spent, and why a job waits."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from compiler.model import Platform
from compiler.profile import Group
from mayfly.cli.context import Context
from mayfly.cli.output import show_facts, show_json, show_table
from mayfly.cli.platform import as_json
from runner.desk import period_start
from runner.pricing import format_money
from runner.waiting import explain
from state.errors import UsageError
from state.ledger import Ledger
from state.record import JobRecord


@click.command()
@click.argument("group", required=False)
@as_json
@click.pass_obj
def budget(context: Context, group: str | None, as_json: bool) -> None:
    """Show what a group, or every group, has spent, promised and left in the present period of its budget.

    Running costs are those of this moment.

    \b
    Examples:  mayfly budget
               mayfly budget lab1
    """  # noqa: D301
    platform, ledger, now = context.platform(), context.ledger(), datetime.now(UTC)
    if group is not None and group not in platform.groups:
        known = ", ".join(platform.groups) or "none"
        raise UsageError(f"There is no group {group}. These are known: {known}.")
    accounts = [describe(ledger, one, now) for one in _wanted(platform, group)]
    if as_json:
        show_json(accounts if group is None else accounts[0])
        return
    columns = ("group", "since", "settled", "running", "promised", "free", "budget")
    rows = [
        (
            one["group"],
            f"{one['since']:%Y-%m-%d}" if one["since"] else "ever",
            *(format_money(one[f"{name}_usd"]) for name in ("settled", "running", "promised", "free", "budget")),
        )
        for one in accounts
    ]
    show_table(columns, rows, empty="There are no groups.")


def _wanted(platform: Platform, group: str | None) -> list[Group]:
    return list(platform.groups.values()) if group is None else [platform.groups[group]]


def describe(ledger: Ledger, group: Group, now: datetime) -> dict[str, Any]:
    """Return a group's account for JSON and tables."""
    since = period_start(group.budget.period, now)
    account = ledger.account(group.id, since, now)
    return {
        "group": group.id,
        "period": group.budget.period,
        "since": since,
        "settled_usd": account.settled,
        "running_usd": account.spent - account.settled,
        "promised_usd": account.promised,
        "free_usd": max(group.budget.amount - account.committed, Decimal(0)),
        "budget_usd": group.budget.amount,
        "jobs": account.running,
    }


def tell_why(ledger: Ledger, record: JobRecord, *, as_json: bool) -> None:
    """Print what a job waits for, how many go before it, and what comes next."""
    found = explain(ledger, record)
    if as_json:
        show_json({"job": record.id, **asdict(found)})
        return
    facts: dict[str, object] = {
        "job": record.id,
        "status": f"{found.status} since {found.since.astimezone():%Y-%m-%d %H:%M:%S}",
        "why": found.why,
    }
    if found.ahead is not None:
        ahead = f"{found.ahead} of its group before it, {found.waiting} of all groups wait"
        facts["turn"] = "next of its group" if found.ahead == 0 else ahead
    if found.then:
        facts["then"] = found.then
    show_facts(facts)
