"""Which price of a machine counts: what the deployment says, else the list of its region, else an estimate.

A price of another region is never taken for that of this one. Where neither the deployment nor a list has it, the
reference region's is multiplied by a factor of safety: enough for a reservation that is not to be passed, and called an
estimate wherever it is shown, so that nobody takes it for a price.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from compiler.catalogue import list_prices, reference_region
from compiler.deployment import Deployment

SAFETY: Final = 2
"""How many times the reference region's price a machine is reckoned at where its own is not known: more than prices of
one type are known to differ between regions, so that a reservation covers it. Our choice, and no figure of AWS."""


class Basis(StrEnum):
    """Where a price comes from."""

    OWN = "own"
    LISTED = "listed"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an hour of a machine costs on demand.

    Attributes:
        hourly_usd: USD per hour.
        basis: where the figure comes from.
    """

    hourly_usd: Decimal
    basis: Basis

    @property
    def is_estimated(self) -> bool:
        """Whether nobody said so: the real price is probably less."""
        return self.basis is Basis.ESTIMATED


def quote(deployment: Deployment, instance_type: str, region: str | None) -> Quote | None:
    """Return what a machine costs; None when it has no price anywhere, so that no cost can be bounded.

    Args:
        deployment: with the prices of its own.
        instance_type: EC2's name.
        region: where it stands; None for the deployment's own region.
    """
    where, home = region or deployment.region, reference_region()
    own = deployment.prices.get(where, {}).get(instance_type)
    if own is not None:
        return Quote(hourly_usd=own, basis=Basis.OWN)
    lists = list_prices()
    listed = lists.get(where, {}).get(instance_type)
    if listed is not None:
        return Quote(hourly_usd=listed, basis=Basis.LISTED)
    reference = lists[home].get(instance_type)
    return None if reference is None else Quote(hourly_usd=reference * SAFETY, basis=Basis.ESTIMATED)


def say_estimate(instance_type: str, region: str, estimated: Quote) -> str:
    """Return how a price was estimated, a clause."""
    price = f"{estimated.hourly_usd.normalize():f} USD an hour"
    return (
        f"the price of {instance_type} in {region} is estimated: {price}, {SAFETY} times that of {reference_region()}"
    )


def way_to_price(instance_type: str, region: str) -> str:
    """Return how the price of a machine is made known, a clause that follows a verb."""
    return f"`prices: {{{region}: {{{instance_type}: USD per hour}}}}` in mayfly.yaml"
