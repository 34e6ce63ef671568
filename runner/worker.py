"""A job's life as effects: what the engine's steps do to the cloud. Every method may be repeated after a crash."""

from __future__ import annotations

import asyncio
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

from compiler.job import render_workspace
from runner.beacon import Beacon
from runner.capacity import after_interruption
from runner.cloud_values import Instance
from runner.collect import check_results
from runner.facts import note_facts, note_results
from runner.furnish import Furnisher, find_lock, others_at_work
from runner.monitor import Signs, decide, progress
from runner.observe import Fleet, Observer
from runner.reaper import sweep
from runner.shop import AgentFile, Certifier, Shop
from runner.tasks import TaskKeeper
from runner.workspace import keep_evidence, write_once
from state.backend import S3Backend
from state.chronicle import Tried
from state.errors import CloudError, TerraformError
from state.job import Ending, Job, JobStatus
from state.stops import StopRequest
from state.usage import Usage

__all__ = ["AgentFile", "Certifier", "Shop", "Worker"]

PROVISIONING = timedelta(minutes=15)
WRAP_UP = timedelta(minutes=15)
"""Time around a task's own limit: for starting its machine, and for uploading what it has when the limit is reached."""
LEAST_RUN = timedelta(minutes=1)
"""A task that was interrupted is not started again for less time than this."""
FAREWELL_S = 5
"""How long machines that reported may take to shut down before Terraform is told to terminate them, seconds."""
RESTARTS_AT_ONCE = 8
SWEEP_TRIES, ABANDONED_TRIES = 120, 3
"""Looks, a second apart, until what is left of a job must be gone, or, when somebody gave up on it, may stay."""

SHARE_S = 0.025
"""Seconds that each watched job adds to the time between two looks at the same one: at most 40 looks a second."""
REST_S = 0.1
"""Seconds that each adds to the time between two certificates that only tell how far the work has come."""

log = logging.getLogger(__name__)


class Worker:
    """Carries jobs from admission to their end."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self.shop = shop
        self._beacon = Beacon(shop.cloud, shop.clock)
        self._fleet = Fleet(shop.cloud, shop.deployment.name)
        self._furnisher = Furnisher(shop, self._observe)
        self._tasks = TaskKeeper(shop)
        self._watched = 0
        self._known: dict[str, JobStatus] = {}  # so that a look that sees nothing new writes nothing
        # Restarting a task blocks for as long as Terraform takes; the looks at other jobs must not wait behind it.
        self._threads = ThreadPoolExecutor(RESTARTS_AT_ONCE, thread_name_prefix="restart")

    # Making -----------------------------------------------------------------------------------------------------

    def prepare(self, job_id: str) -> Ending | None:
        """Write the workspace, once: what was applied must never change under a job."""
        shop, record = self.shop, self.shop.ledger.job(job_id)
        if record.ending or (wish := shop.ledger.stop_request(job_id)):
            return record.ending or (wish.ending if wish else None)
        job, now = record.admitted, shop.clock()
        shop.ledger.advance(job_id, JobStatus.PROVISIONING, now)
        deadline = shop.ledger.set_deadline(job_id, now + PROVISIONING + timedelta(seconds=job.duration_s) + WRAP_UP)
        shop.certifier.write(job_id)
        root = shop.jobs / job_id
        if not root.exists():
            files = render_workspace(
                job,
                deployment=shop.deployment,
                agent=self._furnisher.agent(),
                deadline=deadline,
                module=shop.module,
                lock=shop.terraform.lock_file(),
                backend="s3" if isinstance(shop.backend, S3Backend) else "local",
                attempts=self._furnisher.attempts(job),
            )
            write_once(root, files)
        if isinstance(shop.backend, S3Backend):
            shop.terraform.init(root, shop.backend.settings(f"jobs/{job_id}"))
        else:
            shop.terraform.prepare(root)
        note_facts(shop, job)
        shop.ledger.tell(job_id, "workspace written", now, once="workspace")
        return None

    def provision(self, job_id: str) -> Ending | None:
        """Apply the workspace. A second call makes only what the first did not."""
        job = self.shop.ledger.job(job_id).admitted
        self._beacon.shine(job, self.shop.ledger.stop_request(job_id))
        if (ending := self._furnisher.furnish(job)) is not None:
            return ending
        self._note_instances(job)
        self.shop.ledger.tell(job_id, f"machines are up: {self._machines(job)}", self.shop.clock(), once="machines")
        return None

    def _machines(self, job: Job) -> str:
        kinds = [one.offer for one in self.shop.chronicle.current(job.id).values() if one.instance]
        return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))

    def _observe(self, job: Job) -> list[Signs]:
        """Look at a job, and let ledger and certificate say what its machines are doing."""
        shop = self.shop
        signs = self._observer(job).look(max_age_s=self._pace_s / 2)
        self._follow(job, signs, shop.ledger.stop_request(job.id))
        return signs

    def _observer(self, job: Job) -> Observer:
        return Observer(self.shop.cloud, job, self._fleet, self.shop.chronicle)

    def _follow(self, job: Job, signs: list[Signs], wish: StopRequest | None) -> None:
        status = progress(signs)
        if status is not JobStatus.PROVISIONING and self._known.get(job.id) is not status:
            # What ran for less than a moment is already uploading when it is first seen; its job has run all the same.
            if self.shop.ledger.job(job.id).status is JobStatus.PROVISIONING:
                self.shop.ledger.advance(job.id, JobStatus.RUNNING, self.shop.clock())
            self.shop.ledger.advance(job.id, status, self.shop.clock())
            self._known[job.id] = status
        self.shop.certifier.write(job.id, signs, rest=timedelta(seconds=self._watched * REST_S))
        self._beacon.shine(job, wish)

    # Watching ---------------------------------------------------------------------------------------------------

    @property
    def _pace_s(self) -> float:
        """Seconds between two looks at the same job."""
        return max(self.shop.look_s, self._watched * SHARE_S)

    async def monitor(self, job_id: str) -> Ending:
        """Look again and again until the job is over; what is seen goes into ledger and certificate."""
        record = self.shop.ledger.job(job_id)
        self._watched += 1
        try:
            return await self._watch(record.admitted, record.deadline or self.shop.clock())
        finally:
            self._watched -= 1

    async def _watch(self, job: Job, deadline: datetime) -> Ending:
        observer, loop = self._observer(job), asyncio.get_running_loop()
        while True:
            ending = None
            try:
                signs = await asyncio.to_thread(observer.look, max_age_s=self._pace_s / 2)
                ending = await asyncio.to_thread(self._weigh, job, signs, deadline)
                if ending is None and any(one.attempt and one.attempt.outcome is Tried.OPEN for one in signs):
                    ending = await loop.run_in_executor(self._threads, self.provision, job.id)
            except CloudError as error:
                if not error.retryable:
                    raise
                log.warning("job %s: %s", job.id, error)
            if ending is not None:
                return ending
            await asyncio.sleep(self._pace_s)

    def _weigh(self, job: Job, signs: list[Signs], deadline: datetime) -> Ending | None:
        """Act on what was seen; return the job's ending when it is over."""
        shop, now = self.shop, self.shop.clock()
        wish, known = shop.ledger.stop_request(job.id), shop.chronicle.outcomes(job.id)
        verdicts = self._tasks.judge(job, signs, known, now)
        for one in signs:
            verdict = verdicts.get(one.task.number)
            if (
                verdict is not None
                and verdict.ending == "interrupted"
                and wish is None
                and self._restart(job, one, deadline)
            ):
                verdicts.pop(one.task.number)
        self._tasks.note(job, signs, verdicts, known)
        # The machine's own timer and the agent's limit come first; this is the net under them.
        ending = decide(job, signs, verdicts, wish=wish, deadline=deadline, now=now)
        self._follow(job, signs, wish)
        if ending is None:
            self._tasks.let_go(job, signs, verdicts, now)
        return ending

    def _restart(self, job: Job, signs: Signs, deadline: datetime) -> bool:
        """Let a task that was interrupted have another machine, if its blueprint and its time allow."""
        attempt, now = signs.attempt, self.shop.clock()
        if attempt is None or deadline - WRAP_UP - now < LEAST_RUN:
            return False
        if signs.report is None and signs.instance is not None and signs.instance.state in {"pending", "running"}:
            return True  # it still saves what it has: the next machine goes on from there
        after = after_interruption(job, attempt, now)
        if after is None:
            return False
        self._furnisher.place_again(job, attempt, after)
        return True

    # Ending -----------------------------------------------------------------------------------------------------

    def collect(self, job_id: str, ending: Ending) -> Ending:
        """Check that every file the agents reported is there, and keep what helps to understand a failure."""
        shop, job = self.shop, self.shop.ledger.job(job_id).job
        if job is None or not (shop.jobs / job_id).exists():
            return ending
        signs = self._observer(job).look()
        verdicts = self._tasks.judge(job, signs, shop.chronicle.outcomes(job_id), shop.clock())
        bad = check_results(shop.cloud, job, signs)
        ending = self._tasks.close(job, signs, verdicts, ending, bad)
        note_results(shop, job, signs)
        return ending

    def destroy(self, job_id: str, ending: Ending) -> None:
        """Take everything down: by Terraform, then by tag, until the cloud itself says that nothing is left."""
        shop = self.shop
        shop.ledger.conclude(job_id, ending, shop.clock())
        job, root = shop.ledger.job(job_id).admitted, self.shop.jobs / job_id
        shop.certifier.write(job_id)
        self._let_them_go(job, ending)
        self._note_instances(job)
        if (root / "terraform.tfstate").exists() or (root.exists() and isinstance(shop.backend, S3Backend)):
            self._destroy_by_terraform(job)
        self._sweep(job_id)
        self._note_instances(job)
        self._beacon.forget(job_id)
        self._known.pop(job_id, None)

    def _destroy_by_terraform(self, job: Job) -> None:
        shop, root = self.shop, self.shop.jobs / job.id
        try:
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

    def _sweep(self, job_id: str) -> None:
        """Remove by tag what is left; what somebody has given up on is left, and that is said."""
        shop = self.shop
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
        for _ in range(FAREWELL_S if ending.status in {JobStatus.DONE, JobStatus.FAILED} else 0):
            if all(one.is_gone for one in self._instances(job)):
                return
            self.shop.wait(1)

    def settle(self, job_id: str) -> None:
        """Turn the reservation into the real cost."""
        cost = self.shop.ledger.settle(job_id, self.shop.clock())
        self.shop.ledger.tell(job_id, f"cost: {cost:.4f} USD", self.shop.clock(), once="cost")

    def certify(self, job_id: str) -> str:
        """Keep the workspace as evidence, write the last certificate and the end marker, and forget the workspace."""
        record, root = self.shop.ledger.job(job_id), self.shop.jobs / job_id
        if root.exists():
            keep_evidence(self.shop.cloud, root, record.results)
        status = self.shop.certifier.close(job_id)
        shutil.rmtree(root, ignore_errors=True)
        return status

    # ------------------------------------------------------------------------------------------------------------

    def _instances(self, job: Job) -> list[Instance]:
        return self.shop.cloud.instances(deployment=self.shop.deployment.name, job=job.id)

    def _note_instances(self, job: Job) -> None:
        found, known = self._instances(job), {one.instance for one in self.shop.ledger.usage(job.id, self.shop.clock())}
        new = [self._usage(job, one) for one in found if one.id not in known]
        self.shop.ledger.note_usage(job.id, new, ended=False)
        gone = [self._usage(job, one) for one in found if one.is_gone]
        self.shop.ledger.note_usage(job.id, gone, ended=True)

    def _usage(self, job: Job, one: Instance) -> Usage:
        return Usage(
            job=job.id,
            task=one.task,
            instance=one.id,
            instance_type=one.type,
            spot=one.spot,
            hourly_price=self._price(job, one),
            start=one.launched,
            end=one.ended or self.shop.clock(),
        )

    def _price(self, job: Job, one: Instance) -> Decimal:
        """Return what an instance really costs, USD per hour: for spot capacity what EC2 asks for it now."""
        standard = next((way.hourly_price for way in job.ways if way.instance_type == one.type), Decimal(0))
        if not one.spot:
            return standard
        try:
            price = self.shop.cloud.spot_price(one.type, one.zone)
        except CloudError as error:
            log.warning("job %s: the spot price of %s is not known: %s", job.id, one.id, error)
            price = None
        return standard if price is None else min(price, standard)
