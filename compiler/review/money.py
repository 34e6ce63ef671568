"""What a change costs: the price of a job's hour before and after, and how far each group's budget then reaches.

Prices are those of `compiler.prices`. Spot prices change by the hour and the zone, so the Save price is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from compiler.blueprint import Blueprint
from compiler.deployment import Deployment
from compiler.model import Platform
from compiler.prices import Quote, quote

SAVE_SHARE: Final = Decimal("0.4")
"""The Save price as a share of Standard that is reckoned with; the real one never exceeds Standard."""
HOUR_S: Final = 3600
CENTS: Final = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How many machine hours of an analysis a group's whole budget buys; None where there was or is no price."""

    group: str
    budget: str
    before_h: int | None
    after_h: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """What one hour of one machine of an analysis costs, USD.

    Attributes:
        analysis: its id.
        before: on demand, before; None when the analysis or the price is new.
        after: on demand, after; None when it goes.
        job_before: the most a job of the default duration on one machine costs, before.
        job_after: the same afterwards.
        reach: of every group that may use it.
        estimated: whether `after`, or `before` of one that goes, is an estimate because no list has it.
    """

    analysis: str
    before: Decimal | None
    after: Decimal | None
    job_before: Decimal | None
    job_after: Decimal | None
    reach: tuple[Reach, ...]
    estimated: bool = False

    @property
    def delta(self) -> Decimal:
        """How much dearer an hour becomes."""
        return (self.after or Decimal(0)) - (self.before or Decimal(0))


def compare_prices(before: Platform, after: Platform) -> tuple[PriceChange, ...]:
    """Return what changes in prices, by analysis; a changed default duration counts, too."""
    return tuple(_compare(before, after))


def _compare(before: Platform, after: Platform) -> Iterator[PriceChange]:
    for name in sorted(before.blueprints.keys() | after.blueprints.keys()):
        new = after.blueprints.get(name)
        old = before.blueprints.get(name) or before.blueprints.get(new.renamed_from or "" if new else "")
        if new is None and any(b.renamed_from == name for b in after.blueprints.values()):
            continue
        found = [_quote(before.deployment, old), _quote(after.deployment, new)]
        prices = [one.hourly_usd if one else None for one in found]
        jobs = [_job(b, price) for b, price in zip((old, new), prices, strict=True)]
        newest = found[1] or found[0]
        if prices[0] == prices[1] and jobs[0] == jobs[1]:
            continue
        yield PriceChange(
            analysis=name,
            before=prices[0],
            after=prices[1],
            job_before=jobs[0],
            job_after=jobs[1],
            reach=tuple(_reach(after, name, prices[0], prices[1])) if new else (),
            estimated=newest is not None and newest.is_estimated,
        )


def _reach(after: Platform, name: str, old: Decimal | None, new: Decimal | None) -> Iterator[Reach]:
    for group in after.groups.values():
        if after.may_use(group.id, name) and old != new:
            yield Reach(
                group=group.id,
                budget=f"{group.budget.amount} {group.budget.currency} {group.budget.period.value}",
                before_h=_hours(group.budget.amount, old),
                after_h=_hours(group.budget.amount, new),
            )


def _quote(deployment: Deployment, blueprint: Blueprint | None) -> Quote | None:
    """Return what the default machine costs; None when it has no price."""
    first = blueprint.resources[0] if blueprint else None
    return quote(deployment, first.instance_type, first.region) if first else None


def save_price(price: Decimal | None) -> Decimal | None:
    """Return the estimated Save price of an on-demand price, USD an hour."""
    return None if price is None else (price * SAVE_SHARE).quantize(CENTS, rounding=ROUND_HALF_UP)


def _job(blueprint: Blueprint | None, price: Decimal | None) -> Decimal | None:
    if blueprint is None or price is None:
        return None
    return (price * blueprint.limits.duration_s / HOUR_S).quantize(CENTS, rounding=ROUND_HALF_UP)


def _hours(amount: Decimal, price: Decimal | None) -> int | None:
    return int(amount / price) if price else None
