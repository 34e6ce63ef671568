"""What a job's machines cost: each is billed from its launch to its end, noted as soon as that is seen."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from runner.cloud_values import Instance
from runner.monitor import Signs, when
from runner.shop import Shop
from state.errors import CloudError
from state.job import Job
from state.usage import Usage

log = logging.getLogger(__name__)


class Biller:
    """Keeps the use of machines in the ledger. Noting it again changes nothing: the first end that was seen stays."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self._shop = shop
        self._closed: dict[str, set[str | int]] = {}  # so that a look that sees no new end reads and writes nothing

    def note(self, job: Job) -> None:
        """Ask EC2 for a job's machines; keep which there are, and the ends of those that are gone."""
        shop, now = self._shop, self._shop.clock()
        found = shop.cloud.instances(deployment=shop.deployment.name, job=job.id)
        known = {one.instance for one in shop.ledger.usage(job.id, now)}
        new = [self._usage(job, one, now) for one in found if one.id not in known]
        shop.ledger.note_usage(job.id, new, ended=False)
        self.note_ends(job, found)

    def note_ends(
        self, job: Job, found: Collection[Instance], all_signs: Sequence[Signs] = (), *, is_over: bool = False
    ) -> None:
        """Keep when machines ended: one that is gone costs nothing more, however long its job goes on.

        Args:
            job: which.
            found: the machines of the job that EC2 knows. It forgets one about an hour after its end.
            all_signs: what was seen of its tasks; their agents tell the ends that EC2 does not.
            is_over: whether a machine that EC2 does not list, and that never reported, is gone: its list may slip.
        """
        shop, now, closed = self._shop, self._shop.clock(), self._closed.setdefault(job.id, set())
        gone = {one.id: one for one in found if one.is_gone and one.id not in closed}
        forgotten = {
            one.task.number
            for one in all_signs
            if one.instance is None and one.task.number not in closed and (is_over or one.report is not None)
        }
        if not gone and not forgotten:
            return
        said = {one.task.number: (one.instance and one.instance.id, _farewell(one, now)) for one in all_signs}
        known = {one.instance: one for one in shop.ledger.usage(job.id, now)}
        ends: list[Usage] = []
        for one in gone.values():
            machine, end = said.get(one.task, (None, now))
            row = known.get(one.id) or self._usage(job, one, now)
            ends.append(replace(row, end=one.ended or (end if machine == one.id else now)))
        there = {one.id for one in found}
        lost = [one for one in known.values() if one.task in forgotten and one.instance not in there]
        ends += [replace(one, end=said[one.task][1]) for one in lost]
        shop.ledger.note_usage(job.id, ends, ended=True)
        closed |= gone.keys() | {one.task for one in lost}

    def forget(self, job_id: str) -> None:
        """Remember nothing of a job that is over."""
        self._closed.pop(job_id, None)

    def _usage(self, job: Job, one: Instance, now: datetime) -> Usage:
        return Usage(
            job=job.id,
            task=one.task,
            instance=one.id,
            instance_type=one.type,
            spot=one.spot,
            hourly_price=self._price(job, one),
            start=one.launched,
            end=one.ended or now,
        )

    def _price(self, job: Job, one: Instance) -> Decimal:
        """Return what an instance really costs, USD per hour: for spot capacity what EC2 asks for it now."""
        standard = next((way.hourly_price for way in job.ways if way.instance_type == one.type), Decimal(0))
        if not one.spot:
            return standard
        try:
            price = self._shop.cloud.spot_price(one.type, one.zone)
        except CloudError as error:
            log.warning("job %s: the spot price of %s is not known: %s", job.id, one.id, error)
            price = None
        return standard if price is None else min(price, standard)


def _farewell(signs: Signs, now: datetime) -> datetime:
    """Return when a machine that is gone ended, as its agent lets one judge, and at the latest now."""
    report = signs.report or {}
    end = when(report.get("held_until")) or when(report.get("ended")) or signs.reported or signs.heard
    return min(end, now) if end else now
