"""EC2's machines, regions and prices from small vendored tables, so that checking needs no network.

Sizes and regions are EC2's own description of itself; `.ci/catalogue.py` refreshes them. Prices are list prices of one
region with a date: they bound and estimate, AWS bills. Each table says where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from state.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """One kind of machine.

    Attributes:
        name: EC2's name.
        vcpu: virtual CPUs.
        memory_gib: memory, GiB.
        gpus: NVIDIA GPUs.
        architecture: `x86_64` or `arm64`.
        hourly_usd: on-demand price, USD per hour.
        successor: what to use instead of a type that is retired or retiring, or None.
    """

    name: str
    vcpu: int
    memory_gib: float
    gpus: int
    architecture: str
    hourly_usd: Decimal
    successor: str | None = None

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region of AWS.

    Attributes:
        name: AWS's name.
        zones: its availability zones.
        families: what it offers; empty when that is not known.
    """

    name: str
    zones: frozenset[str]
    families: frozenset[str]


@cache
def _table(name: str) -> Any:  # noqa: ANN401
    return json.loads(files("compiler").joinpath(f"data/{name}.json").read_text(encoding="utf-8"))


@cache
def instances() -> Mapping[str, InstanceType]:
    """Return every type that has a price, by name: only what has a price can be bounded, so only that can run."""
    sizes, prices, retired = _table("instances")["types"], _table("prices")["types"], _table("retired")
    found = {
        name: InstanceType(name=name, **size, hourly_usd=Decimal(prices[name]), successor=_successor(name))
        for name, size in sizes.items()
        if name in prices
    }
    for name, row in retired["types"].items():
        found[name] = InstanceType(name=name, **{**row, "hourly_usd": Decimal(row["hourly_usd"])})
    return MappingProxyType(found)


def _successor(name: str) -> str | None:
    """Return the machine of the succeeding family that has the same size, else its smallest that is as large."""
    family, _, size = name.partition(".")
    heir = _table("retired")["families"].get(family)
    if heir is None:
        return None
    sizes, prices = _table("instances")["types"], _table("prices")["types"]
    same = f"{heir}.{size}"
    if same in prices:
        return same
    large = [n for n in prices if n.startswith(f"{heir}.") and sizes[n]["vcpu"] >= sizes[name]["vcpu"]]
    return min(large, key=lambda n: (sizes[n]["vcpu"], n), default=None)


@cache
def unpriced() -> frozenset[str]:
    """Return the types that EC2 has and whose price we do not know."""
    return frozenset(_table("instances")["types"].keys() - _table("prices")["types"].keys())


@cache
def regions() -> Mapping[str, Region]:
    """Return AWS's regions by name."""
    return MappingProxyType(
        {
            name: Region(name=name, zones=frozenset(row["zones"]), families=frozenset(row["families"]))
            for name, row in _table("regions")["regions"].items()
        }
    )


@cache
def price_note() -> str:
    """Return what the prices are, in a sentence with their date, for whoever shows them."""
    table = _table("prices")
    return f"Prices of {table['date']}, {table['region']}: {table['source']}."


def instance(name: str) -> InstanceType:
    """Return one type.

    Raises:
        UsageError: the catalogue does not have it, or not its price.
    """
    if name in unpriced():
        raise UsageError(
            f"no price of instance type {name!r} is known, so no cost can be bounded. Use another type, or add its "
            "price to `compiler/data/prices.json`."
        )
    try:
        return instances()[name]
    except KeyError:
        raise UsageError(
            f"instance type {name!r} is not in the catalogue. Use a type that `compiler/data/instances.json` lists."
        ) from None
