"""The gatekeeper: lets waiting jobs pass when it is their turn, and keeps an eye on every group's budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event

from compiler.model import Platform
from runner.allowance import guard_budgets
from state.dispatch import Gate
from state.ledger import Ledger
from state.turns import Caps

EVERY_S = 1.0
"""How long a job may stand at an open gate before it is noticed; a new one is noticed at once."""
BUDGETS = timedelta(seconds=10)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatehouse:
    """What a gatekeeper works with.

    Attributes:
        gate: hands jobs to the engine.
        ledger: the durable record.
        platform: returns the platform as it stands now, with its limits and budgets.
        clock: returns the time, UTC.
        wake: set by who knows that there is something to do.
    """

    gate: Gate
    ledger: Ledger
    platform: Callable[[], Platform]
    clock: Callable[[], datetime]
    wake: Event


def keep_gate(house: Gatehouse, stop: Event) -> None:
    """Look again and again until `stop` is set; whoever sets it sets `wake`, too."""
    due = house.clock()
    while not stop.is_set():
        house.wake.wait(EVERY_S)
        house.wake.clear()
        try:
            platform = house.platform()
            if house.clock() >= due:
                guard_budgets(house.ledger, platform, house.clock())
                due = house.clock() + BUDGETS
            while passed := house.gate.open(caps_of(platform), house.clock()):
                log.info("handed to the engine: %s", ", ".join(passed))
        except Exception:  # a database that is away for a moment must not close the gate for good
            log.exception("the gate could not be looked after")


def caps_of(platform: Platform) -> Caps:
    """Return what may be in use at once, as the platform's files say."""
    limits = platform.deployment.limits
    of_group = limits.group_instances
    return Caps(
        instances=limits.instances,
        vcpus=limits.vcpus,
        groups={} if of_group is None else dict.fromkeys(platform.groups, of_group),
        analyses={blueprint.id: blueprint.limits.instances for blueprint in platform.blueprints.values()},
    )
