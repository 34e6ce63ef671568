"""Outlasting an outage: what the cloud does not answer is asked again, for as long as the job may wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from runner.monitor import decide_blind
from runner.shop import Shop
from state.errors import CloudError
from state.job import Ending, Job

PAUSE_S = 10.0
"""Seconds between two tries."""
OUTAGE = "AWS does not answer; it is asked again until it does"

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


def outlast(
    shop: Shop, job: Job, act: Callable[[], Answer], give_up: Callable[[CloudError], Ending | None]
) -> Answer | Ending:
    """Do something again for as long as the cloud does not answer and `give_up` does not say how the job ends.

    Raises:
        CloudError: the cloud answered, and refused.
    """
    while True:
        try:
            return act()
        except CloudError as error:
            if (ending := give_up(error)) is not None:
                return ending
            if not error.retryable:
                raise
            log.warning("job %s: %s", job.id, error)
            shop.ledger.tell(job.id, f"{OUTAGE}: {error}", shop.clock(), once=f"outage/{error.code}")
        shop.wait(PAUSE_S)


def blind_ending(shop: Shop, job: Job, error: CloudError) -> Ending | None:
    """Return how a job ends of which nothing can be seen: by a wish, or by its deadline, and not before."""
    ledger, now = shop.ledger, shop.clock()
    wish, record = ledger.stop_request(job.id), ledger.job(job.id)
    return decide_blind(record.admitted, wish=wish, deadline=record.deadline, now=now, why=str(error))
