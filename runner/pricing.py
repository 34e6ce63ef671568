"""What machines cost: the most a job may cost before it starts, and what it did cost when it is over.

Prices are those of `compiler.prices`: they bound and estimate, AWS bills.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from compiler.catalogue import instance
from compiler.deployment import Deployment
from compiler.prices import quote, way_to_price
from state.errors import UsageError
from state.usage import CENT, Usage, cost

PROVISIONING, WRAP_UP = timedelta(minutes=15), timedelta(minutes=15)
"""Time around a task's own limit: for starting its machine, and for uploading what it has when the limit is reached."""
OVERHEAD_S = int((PROVISIONING + WRAP_UP).total_seconds())

_WHOLE = Decimal("0.01")


def hourly_price(deployment: Deployment, instance_type: str, region: str | None = None) -> Decimal:
    """Return the on-demand price of a machine, USD per hour; `region` is the deployment's own when it is not given.

    Raises:
        UsageError: the catalogue does not have the type, or nobody knows its price.
    """
    found = quote(deployment, instance(instance_type).name, region)
    if found is None:
        way_out = f"Say {way_to_price(instance_type, region or deployment.region)}, or use another type."
        raise UsageError(f"No price of {instance_type} is known, so no cost can be bounded. {way_out}")
    return found.hourly_usd


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
