"""EC2's machines, regions and list prices from small vendored tables, so that checking needs no network.

Sizes and regions are EC2's own description of itself; `.ci/catalogue.py` refreshes them. Prices are list prices by
region, each list with its date: they bound and estimate, AWS bills; `compiler.prices` says which price counts. Each
table says where it comes from.
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
from state.vcpus import Family, family_of


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """One kind of machine.

    Attributes:
        name: EC2's name.
        vcpu: virtual CPUs.
        memory_gib: memory, GiB.
        gpus: NVIDIA GPUs.
        architecture: `x86_64` or `arm64`.
        successor: what to use instead of a type that is retired or retiring, or None.
    """

    name: str
    vcpu: int
    memory_gib: float
    gpus: int
    architecture: str
    successor: str | None = None

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def counts_with(self) -> Family:
        """The families that AWS's quotas count it with."""
        return family_of(self.name)


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
    """Return every type by name, with those that EC2 no longer describes; not each of them has a price."""
    found = {
        name: InstanceType(name=name, **size, successor=_successor(name))
        for name, size in _table("instances")["types"].items()
    }
    for name, row in _table("retired")["types"].items():
        found[name] = InstanceType(name=name, **{key: value for key, value in row.items() if key != "hourly_usd"})
    return MappingProxyType(found)


def _successor(name: str) -> str | None:
    """Return the machine of the succeeding family that has the same size, else its smallest that is as large."""
    family, _, size = name.partition(".")
    heir = _table("retired")["families"].get(family)
    if heir is None:
        return None
    sizes, prices = _table("instances")["types"], list_prices()[reference_region()]
    same = f"{heir}.{size}"
    if same in prices:
        return same
    large = [n for n in prices if n.startswith(f"{heir}.") and n in sizes and sizes[n]["vcpu"] >= sizes[name]["vcpu"]]
    return min(large, key=lambda n: (sizes[n]["vcpu"], n), default=None)


@cache
def reference_region() -> str:
    """Return the region whose list is the longest: the others' missing prices are estimated by it."""
    name: str = _table("prices")["reference"]
    return name


@cache
def list_prices() -> Mapping[str, Mapping[str, Decimal]]:
    """Return on-demand list prices, USD per hour, by region and instance type; a region without a list is not there."""
    found = {
        region: {name: Decimal(usd) for name, usd in row["types"].items()}
        for region, row in _table("prices")["regions"].items()
    }
    last = {name: Decimal(row["hourly_usd"]) for name, row in _table("retired")["types"].items()}
    found[reference_region()] = last | found[reference_region()]
    return MappingProxyType({region: MappingProxyType(rows) for region, rows in found.items()})


@cache
def regions() -> Mapping[str, Region]:
    """Return AWS's regions by name."""
    return MappingProxyType(
        {
            name: Region(name=name, zones=frozenset(row["zones"]), families=frozenset(row["families"]))
            for name, row in _table("regions")["regions"].items()
        }
    )


def price_note(region: str) -> str:
    """Return what the list prices of a region are, in a sentence with their date; empty when there are none."""
    table = _table("prices")["regions"].get(region)
    return f"Prices of {table['date']}, {region}: {table['source']}." if table else ""


def instance(name: str) -> InstanceType:
    """Return one type.

    Raises:
        UsageError: the catalogue does not have it.
    """
    try:
        return instances()[name]
    except KeyError:
        raise UsageError(
            f"instance type {name!r} is not in the catalogue. Use a type that `compiler/data/instances.json` lists."
        ) from None
