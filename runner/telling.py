"""Telling a job's user and its machines how it stands. A bucket that refuses costs the news, never the job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from runner.beacon import Beacon
from runner.monitor import Signs
from runner.shop import Shop
from state.errors import CloudError
from state.job import Job
from state.stops import Orders

log = logging.getLogger(__name__)


class Teller:
    """Writes certificates and beacons of jobs under way, as well as it can."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self._certifier = shop.certifier
        self._beacon = Beacon(shop.cloud, shop.clock)

    def write(self, job_id: str, signs: list[Signs] | None = None, *, rest: timedelta = timedelta(0)) -> None:
        """Write the certificate as it stands."""
        _try(job_id, "the certificate", lambda: self._certifier.write(job_id, signs, rest=rest))

    def shine(self, job: Job, orders: Orders) -> None:
        """Give the machines the platform's sign of life, and what they have to obey."""
        _try(job.id, "the sign of life", lambda: self._beacon.shine(job, orders))

    def forget(self, job_id: str) -> None:
        """Remember nothing of a job that is over."""
        self._beacon.forget(job_id)


def _try(job_id: str, what: str, write: Callable[[], object]) -> None:
    try:
        write()
    except CloudError as error:
        log.warning("job %s: %s was not written: %s", job_id, what, error)
