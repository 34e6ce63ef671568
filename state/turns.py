"""Whose turn it is: which waiting jobs may start within the limits, and what each of the others waits for. Pure.

Jobs of a group start in the order in which they were admitted; one that waits for the machines of its own analysis or
region holds up only those that want the same. Between groups the one with the fewest machines goes first. A large job
may be overtaken for a while, or machines would stand idle, but not for ever, or it would never start.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

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
    """

    job: str
    group: str
    analysis: str
    instances: int
    vcpus: int
    region: str
    since: datetime
    stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How much may be in use at once; None, or no entry, sets no bound.

    Attributes:
        instances: of the whole platform.
        vcpus: of the whole platform, per region: AWS counts its quota there.
        groups: instances by group.
        analyses: instances by analysis.
    """

    instances: int | None = None
    vcpus: int | None = None
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


class _Load:
    """What is in use, by what it counts against."""

    def __init__(self, running: Sequence[Claim], caps: Caps) -> None:
        self.caps, self.instances, self.vcpus = caps, 0, Counter[str]()
        self.groups, self.analyses = Counter[str](), Counter[str]()
        self.closed: set[str] = set()
        for claim in running:
            self.take(claim)

    def take(self, claim: Claim) -> None:
        self.instances += claim.instances
        self.vcpus[claim.region] += claim.vcpus
        self.groups[claim.group] += claim.instances
        self.analyses[claim.analysis] += claim.instances

    def obstacle(self, claim: Claim) -> tuple[str, str]:
        """Return which limit a job does not fit into, and that in words; empty when it fits into all."""
        caps, most = self.caps, claim.instances
        region = f"region {claim.region}"
        for name, cap, used, wanted, words in (
            ("group", caps.groups.get(claim.group), self.groups[claim.group], most, f"the limit of {claim.group}"),
            (
                f"analysis {claim.analysis}",
                caps.analyses.get(claim.analysis),
                self.analyses[claim.analysis],
                most,
                f"the limit of {claim.analysis}",
            ),
            (region, caps.vcpus, self.vcpus[claim.region], claim.vcpus, f"the vCPU quota in {claim.region}"),
            ("platform", caps.instances, self.instances, most, "the limit of the platform"),
        ):
            unit = "vCPUs" if name == region else "instances"
            if cap is not None and used + wanted > cap:
                return name, f"{words}: {used} of {cap} {unit} are in use, and it needs {wanted}"
            if name in self.closed:
                return name, f"{words}: a larger job that has waited longer goes first"
        return "", ""


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
        behind = held[group].get(f"analysis {claim.analysis}") or held[group].get(f"region {claim.region}")
        behind = behind or held[group].get("group") or held[group].get("platform")
        if behind:
            waits[claim.job] = f"job {behind} of its group, which was submitted before it"
            continue
        name, words = load.obstacle(claim)
        if not name:
            load.take(claim)
            start.append(claim.job)
            continue
        waits[claim.job] = words
        held[group][name] = claim.job
        if now - claim.since > PATIENCE and (name == "platform" or name.startswith("region ")):
            load.closed.add(name)
    return Turns(start=tuple(start), waits=waits)
