"""The two ways to harm a platform: at every point once, and at random."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from tests.crash.actors import Death
from tests.crash.faults import CallFault, TerraformFault
from tests.crash.harness import Platform

DEATHS = tuple(Death)
STEPS = ("prepare", "provision", "monitor", "collect", "destroy", "settle", "certify")
EFFECTS = (
    r"before commit of service.run_watcher .*(inbox|record)",
    r"before commit of service.run_watcher .*admit",
    r"after cloud.receive in service.run_watcher",
    r"after cloud.acknowledge\w* in service.run_watcher",
    r"after cloud.launch in worker.provision",
    r"after terraform.state in worker.provision",
    r"after terraform.state in worker.destroy",
    r"after commit of worker.settle",
    r"before commit of worker.certify",
)
"""Between an effect and its record, of each kind: a change of the product may rename these, not remove them."""

CALLS = (
    "cloud.receive in service.run_watcher",
    "cloud.acknowledge",
    "cloud.read in watcher.look",
    "cloud.write in service.run_watcher",
    "cloud.write in worker.prepare",
    "cloud.instances in worker.provision",
    "cloud.list in worker._look",
    "cloud.instances in worker.destroy",
    "cloud.write in worker.certify",
)
"""Calls that must have failed; there are many more, and a change of the product may rename these, not remove them."""


def submit_some(platform: Platform, count: int) -> None:
    """Submit jobs of all sorts: of one dataset or two, bad, refused, announced by no event, and with dying agents."""
    for number in range(count):
        platform.submit(
            datasets=1 + number % 2,
            bad=number % 6 == 1,
            refused=number % 5 == 2,
            lose_event=number % 7 == 3,
            deaths=[DEATHS[platform.counts.jobs % len(DEATHS)]] if platform.counts.jobs % 4 == 3 else (),
        )


def harm_everywhere(platform: Platform, *, jobs: int, seconds: float) -> None:
    """Let all go wrong that the platform was made for, until nothing new does; then hold it to its promises.

    That is a kill at each point that it reaches, or a fault of each call that it makes, and a death of each kind of an
    agent.
    """
    submit_some(platform, jobs)
    platform.submit(deaths=DEATHS)
    platform.settle_down(seconds)
    platform.check()
    alive = [one for one in DEATHS if one not in platform.counts.deaths]
    assert alive == [], f"no agent died {alive}"


def kill_at_random(
    platform: Platform,
    *,
    seconds: float,
    every_s: float,
    restart: Callable[[], None] | None = None,
    patience_s: float = 120,
) -> None:
    """Submit jobs and kill processes until the time is up; then let the platform finish and hold it to its promises.

    On a busy machine a worker may need longer than that to come up: it goes on until one was killed.
    """
    end, pause, turn = time.monotonic() + seconds, threading.Event(), 0

    def lacks() -> bool:
        killed, crashed = platform.counts.kills["worker"], platform.counts.restarts
        return killed == 0 or (restart is not None and crashed == 0)

    while (now := time.monotonic()) < end or (lacks() and now < end + patience_s):
        turn += 1
        if len(platform.ledger.running()) < 8:
            submit_some(platform, 3)
        pause.wait(platform.random.uniform(0, 2 * every_s))
        platform.kill("watcher" if turn % 4 == 0 else "worker")
        if turn % 5 == 0:
            platform.cancel_one()
        if restart is not None and turn % 9 == 0:
            platform.restart_database(restart)
    platform.settle_down(patience_s)
    platform.check()


def missing_points(points: list[str], *, steps: bool = True) -> list[str]:
    """Return which of the points that must be there nobody died at."""
    boundaries = [f"step {step} {when}" for step in STEPS for when in ("begins", "is done and not recorded")]
    return [one for one in (*(boundaries if steps else ()), *EFFECTS) if not any(re.match(one, p) for p in points)]


def missing_faults(faults: list[str]) -> list[str]:
    """Return the kinds of faults, and the calls, that should have gone wrong and did not."""
    kinds = [
        *CallFault,
        *(f"{one} at terraform" for one in TerraformFault),
        f"{TerraformFault.KILLED} at terraform.destroy",
    ]
    return [
        *(one for one in kinds if not any(fault.startswith(one) for fault in faults)),
        *(one for one in CALLS if not any(fault.partition(" at ")[2].startswith(one) for fault in faults)),
    ]
