"""What machines cost: the most a job may cost before it starts, and what it did cost when it is over.

Prices are the vendored table's (compiler.catalogue): they bound and estimate, AWS bills.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from compiler.catalogue import instance
from state.usage import CENT, Usage, cost

PROVISIONING, WRAP_UP = timedelta(minutes=15), timedelta(minutes=15)
"""Time around a task's own limit: for starting its machine, and for uploading what it has when the limit is reached."""
OVERHEAD_S = int((PROVISIONING + WRAP_UP).total_seconds())

_WHOLE = Decimal("0.01")


def hourly_price(instance_type: str) -> Decimal:
    """Return the on-demand price of an instance type, USD per hour.

    Raises:
        UsageError: the catalogue does not have it.
    """
    return instance(instance_type).hourly_usd


def work_cost(*, hourly: Decimal, duration_s: int, tasks: int) -> Decimal:
    """Return the most that a job's work can cost, USD: every task on its own machine for the whole allowed time."""
    return cost(hourly, duration_s, tasks)


def bound(*, hourly: Decimal, duration_s: int, tasks: int) -> Decimal:
    """Return the most a job can cost, USD: its work, and as long as its machines may take to come and to go."""
    return cost(hourly, duration_s + OVERHEAD_S, tasks)


def settle(usages: Iterable[Usage]) -> Decimal:
    """Return what a job did cost, USD: the sum of its instances, rounded one by one as the ledger keeps them."""
    return sum((usage.cost for usage in usages), Decimal(0)).quantize(CENT)


def format_money(amount: Decimal, currency: str = "USD") -> str:
    """Return an amount for people: cents, and below one unit a hundredth of a cent, so that small jobs are not free."""
    places = CENT if amount and abs(amount) < 1 else _WHOLE
    return f"{amount.quantize(places, rounding=ROUND_HALF_UP):,} {currency}"
