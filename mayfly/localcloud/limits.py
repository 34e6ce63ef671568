"""How much of this machine an instance may use: what its type has, as far as this machine has it.

Control groups (version 1 or 2) where they can be written, else a limit on each process's memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from compiler.catalogue import instance as instance_type
from state.errors import UsageError

log = logging.getLogger("mayfly.localcloud")
_PERIOD = 100_000
"""Microseconds over which a CPU quota is counted; the kernel's own default."""
_PROCESSES = 4096
_TOGETHER = 3
"""What all instances together weigh against everything else, of 10: what a person waits for goes before what they left
to run, and the cloud's own answers before its instances, however many these are."""
_CONTROLLERS = frozenset({"memory", "cpu", "pids"})
_SHARE = 0.8
"""Part of this machine's memory that one instance may have at most: the rest keeps the platform alive."""
Settings = Mapping[str, object]
_HOUSE: Mapping[str, Settings] = {
    "cpu": {"cpu.shares": 1024 * _TOGETHER // 10},
    "unified": {"cgroup.subtree_control": "+memory +cpu +pids", "cpu.weight": 100 * _TOGETHER // 10},
}
_UNKNOWN = (2, 4.0)
"""CPUs and GiB of a type that the catalogue does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one instance may use.

    Attributes:
        cpus: numbers of the CPUs it runs on.
        memory: bytes.
        processes: how many.
    """

    cpus: tuple[int, ...]
    memory: int
    processes: int = _PROCESSES


def limits_of(type_name: str, *, cpus: tuple[int, ...], memory: int, turn: int) -> Limits:
    """Return the limits of an instance type on a machine.

    Args:
        type_name: EC2's name.
        cpus: the machine's CPUs.
        memory: the machine's memory, bytes.
        turn: counts instances, so that small ones spread over the CPUs.
    """
    try:
        known = instance_type(type_name)
        wanted, gib = known.vcpu, known.memory_gib
    except UsageError:
        wanted, gib = _UNKNOWN
    count = max(1, min(wanted, len(cpus)))
    start = turn * count % len(cpus)
    chosen = tuple(sorted((cpus * 2)[start : start + count]))
    return Limits(cpus=chosen, memory=min(int(gib * (1 << 30)), int(memory * _SHARE)))


def machine() -> tuple[tuple[int, ...], int]:
    """Return this machine's CPUs, as far as this process may use them, and its memory in bytes."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return tuple(sorted(cpus)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroups:
    """Where control groups can be made on this machine.

    Attributes:
        parents: folder per controller (version 1), or one folder for all, under the name `unified` (version 2).
    """

    parents: Mapping[str, Path] = field(default_factory=dict)

    def make(self, house: str, name: str, limits: Limits) -> list[Path]:
        """Make the groups of an instance; return them, empty when this machine lets us make none.

        Args:
            house: name of the group that holds those of all instances of one cloud.
            name: the instance's.
            limits: what it may use.
        """
        quota = len(limits.cpus) * _PERIOD
        settings: dict[str, Settings] = {
            "memory": {"memory.limit_in_bytes": limits.memory},
            "cpu": {"cpu.cfs_period_us": _PERIOD, "cpu.cfs_quota_us": quota},
            "pids": {"pids.max": limits.processes},
            "unified": {
                "memory.max": limits.memory,
                "memory.swap.max": 0,
                "cpu.max": f"{quota} {_PERIOD}",
                "pids.max": limits.processes,
            },
        }
        made = []
        for controller, parent in self.parents.items():
            group = parent / house / name
            try:
                _set_up(parent / house, _HOUSE.get(controller, {}))
                _set_up(group, settings[controller])
            except OSError as error:
                log.info("no control group for %s (%s): %s", name, controller, error)
                with suppress(OSError):
                    group.rmdir()
            else:
                made.append(group)
        return made

    @property
    def limits_memory(self) -> bool:
        """Whether memory is limited by group."""
        return "memory" in self.parents or "unified" in self.parents

    def sweep(self, house: str) -> None:
        """Remove the groups of instances that are gone, and the one that held them when all are."""
        for parent in self.parents.values():
            for group in (*(parent / house).glob("i-*"), parent / house):
                with suppress(OSError):
                    group.rmdir()


def _set_up(group: Path, settings: Settings) -> None:
    group.mkdir(exist_ok=True)
    for file, value in settings.items():
        if (group / file).exists():
            (group / file).write_text(str(value), encoding="ascii")


def remove_groups(groups: list[Path]) -> bool:
    """Remove the groups of an instance that ended; return whether all are gone."""
    for group in groups:
        with suppress(OSError):
            group.rmdir()
    return not any(group.exists() for group in groups)


def find_control_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> ControlGroups:
    """Find where this process may make control groups."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return ControlGroups()
    found = dict(_by_controller(root, lines))
    if found:
        return ControlGroups(parents=found)
    for _, controllers, path in lines:
        here = root / path.lstrip("/")
        for place in (here, here.parent) if not controllers else ():
            if place.is_relative_to(root) and _is_writable(place) and _offers_memory(place):
                return ControlGroups(parents={"unified": place})
    return ControlGroups()


def _by_controller(root: Path, lines: list[list[str]]) -> Iterator[tuple[str, Path]]:
    """Yield the version 1 controllers that can be used, with the folder to make groups in."""
    for _, controllers, path in lines:
        for controller in _CONTROLLERS.intersection(controllers.split(",")):
            below = path.lstrip("/")
            for place in (root / controllers / below, root / controller / below, root / controller):
                if _is_writable(place):
                    yield controller, place
                    break


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK)


def _offers_memory(folder: Path) -> bool:
    """Return whether groups made in a folder can limit memory; switch that on where it is allowed."""
    switch = folder / "cgroup.subtree_control"
    try:
        if "memory" not in switch.read_text(encoding="ascii").split():
            switch.write_text("+memory +cpu +pids", encoding="ascii")
        return "memory" in switch.read_text(encoding="ascii").split()
    except OSError:
        return False
