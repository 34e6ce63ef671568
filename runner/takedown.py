"""Taking a job down: by Terraform, then by tag, until the cloud itself says that nothing is left.

Nothing here waits for a bucket: one that refuses must not keep machines alive.
"""

from __future__ import annotations

import logging
from functools import partial

from runner.attend import Attendant
from runner.billing import Biller
from runner.locks import LOCK_LEASE, find_lock, forget_all, others_at_work, say_at_work
from runner.reaper import sweep
from runner.shop import Shop
from runner.workplace import Workplace
from state.backend import S3Backend
from state.errors import CloudError, TerraformError
from state.job import Ending, Job, JobStatus

FAREWELL_S = (0.25, 0.25, 0.5, 1, 1, 1, 1)
"""How long machines that reported may take to shut down before Terraform is told to terminate them, as seconds between
looks. The first come soon, because most machines go at once."""
SWEEP_TRIES, ABANDONED_TRIES = 120, 3
"""Looks, a second apart, until what is left of a job must be gone, or, when somebody gave up on it, may stay."""
BEAT_S = LOCK_LEASE.total_seconds() / 6

log = logging.getLogger(__name__)


class Takedown:
    """Takes jobs down. Every call may be repeated."""

    def __init__(self, shop: Shop, workplace: Workplace, biller: Biller) -> None:
        """Work with `shop`; `biller` notes when machines end."""
        self._shop, self._workplace, self._biller = shop, workplace, biller

    def destroy(self, job: Job, ending: Ending) -> None:
        """Take everything of a job down; return only when nothing is left.

        Raises:
            CloudError: something is still there; try again.
            TerraformError: another worker's Terraform holds the lock; try again.
        """
        shop = self._shop
        self._let_them_go(job, ending)
        self._biller.note(job)
        root = self._workplace.enter_if_possible(job.id)
        if root is not None and ((root / "terraform.tfstate").exists() or isinstance(shop.backend, S3Backend)):
            self._destroy_by_terraform(job)
        self._sweep(job.id)
        self._biller.note(job)
        self._biller.forget(job.id)
        forget_all(shop, job.id)

    def _destroy_by_terraform(self, job: Job) -> None:
        shop, root = self._shop, self._shop.jobs / job.id
        try:
            # A destroy may take minutes: who finds its lock must see that its holder lives.
            with Attendant(partial(self._beat, job), every_s=BEAT_S):
                done = shop.terraform.destroy(root, parallelism=max(10, len(job.tasks)), log=root / "terraform.log")
            shop.chronicle.note(job.id, "destroy", {"destroy": done.destroy, "seconds": round(done.seconds, 1)})
        except TerraformError as error:
            lock = find_lock(error)
            if lock and others_at_work(shop, job.id, shop.clock()):
                raise  # another worker's Terraform is at it; this step is tried again
            # The sweep does not need Terraform; what matters is said in the story and kept as evidence.
            log.warning("job %s: %s", job.id, error)
            shop.ledger.tell(job.id, f"Terraform could not destroy everything: {error}", shop.clock())
            if lock:
                shop.terraform.unlock(root, lock)

    def _beat(self, job: Job) -> bool:
        say_at_work(self._shop, job.id)
        return False

    def _sweep(self, job_id: str) -> None:
        """Remove by tag what is left; what somebody has given up on is left, and that is said."""
        shop = self._shop
        abandoned = shop.chronicle.facts(job_id).get("abandoned")
        try:
            tries = ABANDONED_TRIES if abandoned else SWEEP_TRIES
            removed = sweep(shop.cloud, deployment=shop.deployment.name, job=job_id, wait=shop.wait, tries=tries)
        except CloudError as error:
            if not abandoned:
                raise
            left = [f"{one.kind} {one.id}" for one in shop.cloud.leftovers(deployment=shop.deployment.name, job=job_id)]
            shop.chronicle.note(job_id, "left behind", left)
            text = f"LEFT BEHIND, because it was abandoned ({abandoned['reason']}): {', '.join(left)}: {error}"
            shop.ledger.tell(job_id, text, shop.clock(), once="left-behind")
            return
        if removed:
            names = ", ".join(f"{one.kind} {one.id}" for one in removed)
            shop.ledger.tell(job_id, f"removed by tag: {names}", shop.clock())

    def _let_them_go(self, job: Job, ending: Ending) -> None:
        """Give machines whose task is done a moment to end by themselves.

        For an instance that is gone Terraform needs 0.2 s, for one that it must terminate itself 10 s.
        """
        for pause_s in FAREWELL_S if ending.status in {JobStatus.DONE, JobStatus.FAILED} else ():
            if all(
                one.is_gone for one in self._shop.cloud.instances(deployment=self._shop.deployment.name, job=job.id)
            ):
                return
            self._shop.wait(pause_s)
