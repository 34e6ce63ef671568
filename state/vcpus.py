"""vCPU quotas as EC2 counts them: for each region, each group of families and each market apart.

The groups and their names are those of AWS's list of quotas; `limits.vcpus` of mayfly.yaml says how many there are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeAlias

ELSEWHERE: Final = "elsewhere"
"""Stands for every region that is not named; no region can be called so."""


class Family(StrEnum):
    """Families that AWS counts together."""

    STANDARD = "standard"
    DL = "dl"
    F = "f"
    G = "g"
    HIGH_MEMORY = "high_memory"
    HPC = "hpc"
    INF = "inf"
    P = "p"
    TRN = "trn"
    X = "x"

    @property
    def words(self) -> str:
        """What AWS calls it."""
        return _TITLES.get(self, self.value.upper())


_TITLES: Final = {
    Family.STANDARD: "Standard",
    Family.G: "G and VT",
    Family.HIGH_MEMORY: "High Memory",
    Family.INF: "Inf",
    Family.TRN: "Trn",
}
BY_LETTERS: Final = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), Family.STANDARD),
    **dict.fromkeys(("g", "gr", "vt"), Family.G),
    "u": Family.HIGH_MEMORY,
    **{one.value: one for one in (Family.DL, Family.F, Family.HPC, Family.INF, Family.P, Family.TRN, Family.X)},
}
"""Group by the letters that an instance type begins with; a test holds that every type of the catalogue has one."""


def family_of(instance_type: str) -> Family:
    """Return what AWS counts an instance type with; what begins with letters that nobody knows is Standard."""
    letters = re.match(r"[a-z]*", instance_type)
    return BY_LETTERS.get(letters.group() if letters else "", Family.STANDARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One thing that is counted.

    Attributes:
        region: where.
        family: of which machines; None for all of the region together.
        spot: whether of spot capacity or on demand; AWS counts them apart.
    """

    region: str
    family: Family | None = None
    spot: bool = False

    def __str__(self) -> str:
        """Return it in words: `us-east-1, G and VT on demand`."""
        if self.family is None:
            return self.region
        return f"{self.region}, {self.family.words} {'spot' if self.spot else 'on demand'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionQuotas:
    """How many vCPUs may be in use at once in a region; what is not there has no bound of ours.

    Attributes:
        total: of all families and markets together.
        on_demand: by group of families.
        spot: the same, of spot capacity.
    """

    total: int | None = None
    on_demand: Mapping[Family, int] = field(default_factory=dict)
    spot: Mapping[Family, int] = field(default_factory=dict)


Vcpus: TypeAlias = int | Mapping[str, RegionQuotas] | None
"""A figure for each region, or quotas by region; None sets no bound."""


def most_of(vcpus: Vcpus, quota: Quota) -> int | None:
    """Return how many vCPUs a quota gives; None when nothing is said of it."""
    if vcpus is None or isinstance(vcpus, int):
        return vcpus if quota.family is None else None
    found = vcpus.get(quota.region) or vcpus.get(ELSEWHERE)
    if found is None or quota.family is None:
        return found.total if found else None
    return (found.spot if quota.spot else found.on_demand).get(quota.family)


def counts_families(vcpus: Vcpus) -> bool:
    """Whether any quota is of a family: if none is, nobody need look at single machines."""
    return isinstance(vcpus, Mapping) and any(one.on_demand or one.spot for one in vcpus.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one machine takes of a quota.

    Attributes:
        family: that it counts with.
        spot: whether it is spot capacity.
        vcpus: how many it has.
    """

    family: Family
    spot: bool
    vcpus: int

    def of(self, region: str) -> Quota:
        """Return the quota that it takes from in a region."""
        return Quota(region=region, family=self.family, spot=self.spot)


def write_needs(needs: Iterable[Need]) -> str:
    """Return what the machine of each way takes, as the ledger keeps it."""
    return json.dumps([[one.family, one.spot, one.vcpus] for one in needs], separators=(",", ":"))


@lru_cache(maxsize=1024)
def read_needs(text: str | None) -> tuple[Need, ...]:
    """Return what `write_needs` wrote; jobs of one analysis wrote the same, so it is read once for all of them."""
    rows = json.loads(text) if text else ()
    return tuple(Need(family=Family(family), spot=spot, vcpus=vcpus) for family, spot, vcpus in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """Machines of a job that can be no others any more.

    Attributes:
        way: index of the way that they were got.
        count: how many; tasks that are given up are counted with `way` None.
    """

    way: int | None
    count: int


def claims_on(needs: Sequence[Need], region: str, tasks: int, got: Iterable[Got] = ()) -> dict[Quota, int]:
    """Return how many vCPUs a job claims of each quota.

    A task whose machine is there and stays claims that one. Every other may still get its machine any way, so it claims
    the most that a way takes, of each quota: whatever it gets, no quota is passed.

    Args:
        needs: of the job's ways, in their order.
        region: where its machines stand.
        tasks: how many it has.
        got: what became of some of them.
    """
    claimed, open_tasks = Counter[Quota](), tasks
    for one in got:
        open_tasks -= one.count
        if one.way is not None and one.way < len(needs):
            claimed[needs[one.way].of(region)] += needs[one.way].vcpus * one.count
    if open_tasks > 0:
        for quota, vcpus in _most(tuple(needs), region).items():
            claimed[quota] += vcpus * open_tasks
    return dict(claimed)


@lru_cache(maxsize=1024)
def _most(needs: tuple[Need, ...], region: str) -> Mapping[Quota, int]:
    """Return the most that one machine may take of each quota."""
    most: dict[Quota, int] = {}
    for need in needs:
        quota = need.of(region)
        most[quota] = max(need.vcpus, most.get(quota, 0))
    return most
