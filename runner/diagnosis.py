"""Why a task fell silent: what its console, its last status and EC2 say, put into a sentence with a way out."""

from __future__ import annotations

import re

from runner.monitor import SPOT_END, Signs

TAIL = 64 * 1024
"""Characters at the end of a console that are looked at."""
_FULL = 0.95
"""Share of memory or disk above which a machine that fell silent most likely ran out of it."""

_CONSOLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"out of memory: kill|oom-kill|oom_reaper|memory cgroup out of memory|cannot allocate memory", re.IGNORECASE
        ),
        "the machine ran out of memory. Choose a larger instance type, or a smaller dataset",
    ),
    (
        re.compile(r"(?i)no space left on device|there is no room for the agent"),
        "the machine's disk is full. Ask for more with __dataset_size__ in the config",
    ),
    (
        re.compile(
            r"kernel panic|unable to mount root|dracut|emergency mode|grub rescue|no bootable device", re.IGNORECASE
        ),
        "the machine did not boot. Its image is broken: build it again",
    ),
    (
        re.compile(r"(?i)python3: (command )?not found|mayfly agent: Python .* or newer is needed"),
        "the image has no Python that the agent can run with. Build it on a newer base",
    ),
    (
        re.compile(r"(?i)the agent that came is not the one that was meant"),
        "the agent that was fetched is not the one of this release. Something on the way changes files",
    ),
    (
        re.compile(r"(?i)the agent cannot be fetched|the agent could not be fetched"),
        "the machine could not fetch its agent: it has no way out to S3. Check the subnet's route and the endpoint",
    ),
    (
        re.compile(r"(?i)the platform was silent"),
        "the machine ended itself because the platform gave no sign of life for an hour",
    ),
    (re.compile(r"(?i)the deadline has passed"), "the machine ended itself at its deadline"),
    (
        re.compile(r"(?i)status not written: .*(nothing answers|could not connect|timed? ?out|unreachable)"),
        "the machine lost its connection to S3",
    ),
    (re.compile(r"\bKilled\b"), "a process of the machine was killed, most often for want of memory"),
    (re.compile(r"(?i)the agent ended with status (?!0\b)\d+"), "the agent itself failed"),
)


def diagnose(signs: Signs, console: str) -> str:
    """Return why a task fell silent, in words; empty when nothing points anywhere."""
    tail = console[-TAIL:]
    found = next((words for sign, words in _CONSOLE if sign.search(tail)), "")
    return found or _from_ec2(signs) or _from_status(signs) or _from_silence(signs, tail)


def _from_ec2(signs: Signs) -> str:
    reason = signs.instance.reason if signs.instance else ""
    if SPOT_END in reason:
        return "AWS took the spot machine back"
    return "somebody terminated the machine" if re.search(r"User ?initiated", reason) else ""


def _from_status(signs: Signs) -> str:
    machine = signs.status.get("machine")
    if not isinstance(machine, dict):
        return ""
    if _share(machine, "memory_used", "memory_total") > _FULL:
        return "its memory was almost full when it was last heard. Choose a larger instance type"
    if _share(machine, "disk_used", "disk_total") > _FULL:
        return "its disk was almost full when it was last heard. Ask for more with __dataset_size__ in the config"
    return ""


def _from_silence(signs: Signs, console: str) -> str:
    if signs.heard is None:
        if console.strip():
            return "the machine booted, but no agent started in it"
        return "the machine printed nothing at all: it did not boot, or its image starts nothing"
    if signs.instance is not None and signs.instance.state == "running":
        return "the machine still runs: its network is down, or everything in it hangs"
    return ""


def _share(machine: dict[str, object], used: str, total: str) -> float:
    one, whole = machine.get(used), machine.get(total)
    if isinstance(one, int | float) and isinstance(whole, int | float) and whole > 0:
        return float(one) / float(whole)
    return 0.0
