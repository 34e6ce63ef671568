"""The two ways to kill a platform: at every point once, and at random."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from tests.crash.harness import Platform

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


def submit_some(platform: Platform, count: int) -> None:
    """Submit jobs of all sorts: one dataset or two, bad ones, refused ones, and those that no event announces."""
    for number in range(count):
        platform.submit(
            datasets=1 + number % 2, bad=number % 6 == 1, refused=number % 5 == 2, lose_event=number % 7 == 3
        )


def kill_everywhere(platform: Platform, *, jobs: int, seconds: float) -> None:
    """Let the platform die at each point that it reaches, until it reaches no new one; then hold it to its promises."""
    submit_some(platform, jobs)
    platform.settle_down(seconds)
    platform.check()


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
