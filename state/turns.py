"""Whose turn it is: which waiting jobs may start within the limits, and what each of the others waits for. Pure.

Jobs of a group start in the order in which they were admitted; one that waits for the machines of its own analysis,
region or quota holds up only those that want the same. Between groups the one with the fewest machines goes first. A
large job may be overtaken for a while, or machines would stand idle, but not for ever, or it would never start.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from state.vcpus import Quota, Vcpus, most_of

PATIENCE: Final = timedelta(minutes=10)
"""How long a job that needs much is overtaken by smaller ones of other groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one job takes of the limits.

    Attributes:
        job: its id.
        group: who pays.
        analysis: blueprint id.
        instances: machines at once.
        vcpus: of all its machines together.
        region: where they stand.
        since: when it was admitted, UTC.
        stopping: whether it is to be stopped: it takes no machines any more, only its end.
        quotas: vCPUs that its machines take, or may take, of the quotas of families.
    """

    job: str
    group: str
    analysis: str
    instances: int
    vcpus: int
    region: str
    since: datetime
    stopping: bool = False
    quotas: Mapping[Quota, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How much may be in use at once; None, or no entry, sets no bound.

    Attributes:
        instances: of the whole platform.
        vcpus: of the whole platform, per region, or by region, group of families and market: as AWS counts its quotas.
        groups: instances by group.
        analyses: instances by analysis.
    """

    instances: int | None = None
    vcpus: Vcpus = None
    groups: Mapping[str, int] = field(default_factory=dict)
    analyses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What was decided.

    Attributes:
        start: ids of the jobs whose turn it is, in order.
        waits: what each of the others waits for, a clause, by id.
    """

    start: tuple[str, ...]
    waits: Mapping[str, str]


class _Wall(NamedTuple):
    """One limit as a job meets it.

    Attributes:
        name: of the limit, the same for every job that it holds.
        most: that may be in use.
        used: what is.
        wanted: what the job needs of it.
        where: what is limited, in words.
        unit: of the figures.
        shared: whether jobs of other groups want the same, too.
    """

    name: str
    most: int
    used: int
    wanted: int
    where: str
    unit: str = " instances"
    shared: bool = False

    @property
    def is_full(self) -> bool:
        """Whether the job does not fit in."""
        return self.used + self.wanted > self.most


class _Load:
    """What is in use, by what it counts against."""

    def __init__(self, running: Sequence[Claim], caps: Caps) -> None:
        self.caps, self.instances, self.vcpus = caps, 0, Counter[Quota]()
        self.groups, self.analyses = Counter[str](), Counter[str]()
        self.closed: set[str] = set()
        self.kept = Counter[str]()  # by limit: what is free and waited for by a job that also waits for something else
        for claim in running:
            self.take(claim)

    def take(self, claim: Claim) -> None:
        self.instances += claim.instances
        self.vcpus[Quota(region=claim.region)] += claim.vcpus
        for quota, vcpus in claim.quotas.items():
            self.vcpus[quota] += vcpus
        self.groups[claim.group] += claim.instances
        self.analyses[claim.analysis] += claim.instances

    def walls(self, claim: Claim) -> Iterator[_Wall]:
        """Yield every limit that a job counts against."""
        caps, count, place = self.caps, claim.instances, Quota(region=claim.region)
        group, analysis, used = claim.group, claim.analysis, self.vcpus
        if (cap := caps.groups.get(group)) is not None:
            yield _Wall("group", cap, self.groups[group], count, f"the limit of {group}")
        if (cap := caps.analyses.get(analysis)) is not None:
            yield _Wall(f"analysis {analysis}", cap, self.analyses[analysis], count, f"the limit of {analysis}")
        if (cap := most_of(caps.vcpus, place)) is not None:
            where = f"the vCPU quota in {claim.region}"
            yield _Wall(f"vcpus {place}", cap, used[place], claim.vcpus, where, " vCPUs", shared=True)
        for quota, vcpus in claim.quotas.items():
            if (cap := most_of(caps.vcpus, quota)) is not None:
                yield _Wall(f"vcpus {quota}", cap, used[quota], vcpus, f"vCPUs: {quota}", "", shared=True)
        if (cap := caps.instances) is not None:
            yield _Wall("platform", cap, self.instances, count, "the limit of the platform", shared=True)

    def obstacle(self, claim: Claim) -> tuple[_Wall, str] | None:
        """Return the limit that a job does not fit into, and that in words; None when it fits into all."""
        for wall in self.walls(claim):
            if wall.is_full:
                figures = f"{wall.used} of {wall.most}{wall.unit} are in use, and it needs {wall.wanted}"
                return wall, f"{wall.where}: {figures}"
            if wall.name in self.closed or wall.used + self.kept[wall.name] + wall.wanted > wall.most:
                return wall, f"{wall.where}: a larger job that has waited longer goes first"
        return None

    def keep_for(self, claim: Claim) -> None:
        """Let nobody overtake a job any more: close what it does not fit into, and keep its share of the rest.

        One that is larger than a limit, which was lowered since it was admitted, holds up nobody.
        """
        shared = [wall for wall in self.walls(claim) if wall.shared]
        if any(wall.wanted > wall.most for wall in shared):
            return
        for wall in shared:
            if wall.is_full:
                self.closed.add(wall.name)
            else:
                self.kept[wall.name] += wall.wanted


def take_turns(waiting: Sequence[Claim], running: Sequence[Claim], caps: Caps, now: datetime) -> Turns:
    """Decide which waiting jobs may start.

    Args:
        waiting: in the order in which they were admitted.
        running: those that count against the limits.
        caps: the limits.
        now: UTC.
    """
    load, waits = _Load(running, caps), dict[str, str]()
    start = [claim.job for claim in waiting if claim.stopping]
    lines: dict[str, deque[Claim]] = defaultdict(deque)
    for claim in waiting:
        if not claim.stopping:
            lines[claim.group].append(claim)
    held: dict[str, dict[str, str]] = defaultdict(dict)  # by group: the limit that its first job waits for, and whose
    while lines:
        group = min(lines, key=lambda name: (load.groups[name], lines[name][0].since, name))
        claim = lines[group].popleft()
        if not lines[group]:
            del lines[group]
        behind = next((held[group][wall.name] for wall in load.walls(claim) if wall.name in held[group]), None)
        if behind:
            waits[claim.job] = f"job {behind} of its group, which was submitted before it"
            continue
        found = load.obstacle(claim)
        if found is None:
            load.take(claim)
            start.append(claim.job)
            continue
        wall, waits[claim.job] = found
        held[group][wall.name] = claim.job
        if now - claim.since > PATIENCE and wall.shared:
            load.keep_for(claim)
    return Turns(start=tuple(start), waits=waits)
