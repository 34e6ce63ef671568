"""Budgets while money is being spent: alerts at their levels, once each, and the end of what may be spent."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from compiler.model import Platform
from compiler.profile import Group
from runner.desk import period_start
from runner.pricing import format_money
from state.job import FINAL, Ending, JobStatus
from state.ledger import Ledger

GRACE = timedelta(minutes=5)
"""How long jobs may save what they have when their group's budget is used up."""

log = logging.getLogger(__name__)


def guard_budgets(ledger: Ledger, platform: Platform, now: datetime) -> None:
    """Look at every group's spending: tell it at its alert levels, and stop its jobs at the cap.

    Reservations keep a budget from being promised twice; what goes beyond them (a machine that took long to come up,
    a budget that was lowered) is caught here. Repeating it changes nothing.
    """
    for group in platform.groups.values():
        since = period_start(group.budget.period, now)
        account = ledger.account(group.id, since, now)
        for job, cost in account.running.items():
            ledger.cover(job, cost)
        for level in levels_reached(group, account.spent):
            _alert(ledger, group, level=level, spent=account.spent, since=since, now=now)
        if account.running and account.spent >= group.budget.amount:
            _stop(ledger, group, account.spent, now)


def levels_reached(group: Group, spent: Decimal) -> list[int]:
    """Return the alert levels that a spending has reached, in percent, ascending."""
    amount = group.budget.amount
    return [level for level in sorted(group.budget.alerts) if spent > 0 and spent * 100 >= amount * level]


def name_period(since: datetime | None) -> str:
    """Return the name of a budget's period, the same for as long as it lasts."""
    return "" if since is None else f"since {since:%Y-%m-%d}"


def _alert(ledger: Ledger, group: Group, *, level: int, spent: Decimal, since: datetime | None, now: datetime) -> None:
    cap, period = format_money(group.budget.amount, group.budget.currency), name_period(since)
    text = f"{group.id} has spent {format_money(spent)}, {level} % of its budget of {cap} {period}".rstrip() + "."
    if ledger.alert(group.id, level=level, period=period, text=text, at=now):
        log.warning("%s", text)
    for record in ledger.jobs(group=group.id, statuses=_OPEN, limit=1000):
        ledger.tell(record.id, text, now, once=f"alert {level} % {period}")


def _stop(ledger: Ledger, group: Group, spent: Decimal, now: datetime) -> None:
    cap = format_money(group.budget.amount, group.budget.currency)
    reason = (
        f"The budget of {group.id}, {cap}, is used up ({format_money(spent)} are spent). Results saved until then are "
        "kept. Have the budget raised, then submit again."
    )
    for record in ledger.jobs(group=group.id, statuses=_OPEN, limit=1000):
        grace = GRACE if record.enqueued is not None else timedelta(0)
        ledger.request_stop(record.id, Ending(status=JobStatus.OVER_BUDGET, reason=reason), now, grace=grace)


_OPEN = [status for status in JobStatus if status not in FINAL]
