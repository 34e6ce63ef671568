"""A job's life as effects: what the engine's steps do to the cloud. Every method may be repeated after a crash."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path

from compiler.job import render_workspace
from runner.billing import Biller
from runner.capacity import after_interruption
from runner.cloud_values import Instance
from runner.collect import check_results
from runner.facts import note_facts, note_results
from runner.furnish import Furnisher
from runner.logs import complete_logs
from runner.monitor import Gap, Signs, decide, progress
from runner.observe import Fleet, Observer
from runner.outlast import blind_ending, outlast
from runner.pricing import PROVISIONING, WRAP_UP
from runner.shop import AgentFile, Certifier, Shop
from runner.sight import Sight
from runner.takedown import Takedown
from runner.tasks import TaskKeeper
from runner.telling import Teller
from runner.workplace import Workplace
from runner.workspace import keep_evidence
from state.backend import S3Backend
from state.chronicle import Tried
from state.errors import CloudError
from state.job import Ending, Job, JobStatus
from state.stops import Orders

__all__ = ["AgentFile", "Certifier", "Shop", "Worker"]

LEAST_RUN = timedelta(minutes=1)
"""A task that was interrupted is not started again for less time than this."""
RESTARTS_AT_ONCE = 8
LOOKS_AT_FAILED = 3
"""How often the results of a job that is not done are looked at when the store does not answer."""
REST_S = 0.1
"""Seconds that each adds to the time between two certificates that only tell how far the work has come."""

log = logging.getLogger(__name__)


class Worker:
    """Carries jobs from admission to their end."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self.shop = shop
        self._teller, self.biller = Teller(shop), Biller(shop)
        self._fleet = Fleet(shop.cloud, shop.deployment.name)
        self._workplace = Workplace(shop)
        self._furnisher = Furnisher(shop, self._workplace, self._observe)
        self._tasks = TaskKeeper(shop)
        self._takedown = Takedown(shop, self._workplace, self.biller)
        self._eyes: dict[str, Observer] = {}
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
        job = record.admitted
        shop.ledger.advance(job_id, JobStatus.PROVISIONING, shop.clock())
        return outlast(shop, job, lambda: self._prepare(job), partial(blind_ending, shop, job))

    def _prepare(self, job: Job) -> Ending | None:
        shop, job_id = self.shop, job.id
        try:
            shop.certifier.write(job_id)
        except CloudError as error:
            if error.retryable:
                raise
            # Nothing is spent yet, and what cannot be written to now would take no results later.
            return Ending(status=JobStatus.FAILED, reason=f"The results could not be written: {error}")
        if shop.cloud.head(job.results.bucket, job.results.end) is not None:
            shop.cloud.delete(job.results.bucket, job.results.end)  # of whatever had this folder before
        agent, now, record = self._furnisher.agent(), shop.clock(), shop.ledger.job(job_id)
        admitted_s = record.admitted.duration_s - record.extra_s
        shop.ledger.set_deadline(job_id, now + PROVISIONING + timedelta(seconds=admitted_s) + WRAP_UP)
        record = shop.ledger.job(job_id)  # time that it is granted meanwhile moves both, its limit and its deadline
        job = record.admitted
        self._workplace.make(
            job_id,
            lambda: render_workspace(
                job,
                deployment=shop.deployment,
                agent=agent,
                deadline=record.deadline or now,
                module=shop.module,
                lock=shop.terraform.lock_file(),
                backend="s3" if isinstance(shop.backend, S3Backend) else "local",
                attempts=self._furnisher.attempts(job),
            ),
        )
        note_facts(shop, job)
        shop.ledger.tell(job_id, "workspace written", now, once="workspace")
        return None

    def provision(self, job_id: str) -> Ending | None:
        """Apply the workspace. A second call makes only what the first did not."""
        shop, job = self.shop, self.shop.ledger.job(job_id).admitted
        return outlast(shop, job, lambda: self._provision(job), partial(blind_ending, shop, job))

    def _provision(self, job: Job) -> Ending | None:
        self._teller.shine(job, self.shop.ledger.orders(job.id))
        self._workplace.enter(job.id)
        if (ending := self._furnisher.furnish(job)) is not None:
            return ending
        self.biller.note(job)
        self.shop.ledger.tell(job.id, f"machines are up: {self._machines(job)}", self.shop.clock(), once="machines")
        return None

    def _machines(self, job: Job) -> str:
        kinds = [one.offer for one in self.shop.chronicle.current(job.id).values() if one.instance]
        return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))

    def _observe(self, job: Job, *, fresh: bool = False) -> list[Signs]:
        """Look at a job, and let ledger and certificate say what its machines are doing."""
        shop = self.shop
        signs = self._observer(job).look(max_age_s=0.0 if fresh else shop.look_s / 2)
        self._follow(job, signs, shop.ledger.orders(job.id))
        return signs

    def _observer(self, job: Job) -> Observer:
        """Return the eyes on a job, always the same: they remember what they have read."""
        known = self._eyes.get(job.id)
        if known is None:
            known = self._eyes[job.id] = Observer(self.shop.cloud, job, self._fleet, self.shop.chronicle)
        return known

    def _follow(self, job: Job, signs: list[Signs], orders: Orders) -> None:
        status = progress(signs)
        if status is not JobStatus.PROVISIONING and self._known.get(job.id) is not status:
            # What ran for less than a moment is already uploading when it is first seen; its job has run all the same.
            if self.shop.ledger.job(job.id).status is JobStatus.PROVISIONING:
                self.shop.ledger.advance(job.id, JobStatus.RUNNING, self.shop.clock())
            self.shop.ledger.advance(job.id, status, self.shop.clock())
            self._known[job.id] = status
        self._teller.write(job.id, signs, rest=timedelta(seconds=self._watched * REST_S))
        self._teller.shine(job, orders)

    # Watching ---------------------------------------------------------------------------------------------------

    async def monitor(self, job_id: str) -> Ending:
        """Look again and again until the job is over; what is seen goes into ledger and certificate."""
        record = self.shop.ledger.job(job_id)
        self._watched += len(record.admitted.tasks)
        try:
            return await self._watch(record.admitted)
        finally:
            self._watched -= len(record.admitted.tasks)

    async def _watch(self, job: Job) -> Ending:
        observer, sight = self._observer(job), Sight(self.shop.clock())
        loop = asyncio.get_running_loop()
        while True:
            try:
                signs = await asyncio.to_thread(self._look, observer, sight)
                ending = await asyncio.to_thread(self._weigh, job, signs, observer.machines, sight.gaps)
                if ending is None and any(one.attempt and one.attempt.outcome is Tried.OPEN for one in signs):
                    ending = await loop.run_in_executor(self._threads, self._provision, job)
            except CloudError as error:
                # Whatever it is: a job of which nothing can be seen must still end when it is wished or too late.
                log.warning("job %s: %s", job.id, error)
                ending = await asyncio.to_thread(blind_ending, self.shop, job, error)
            if ending is not None:
                return ending
            await asyncio.sleep(self.shop.rhythm_s(self._watched))

    def _look(self, observer: Observer, sight: Sight) -> list[Signs]:
        sight.ask()
        signs = observer.look(max_age_s=self.shop.rhythm_s(self._watched) / 2)
        sight.see(self.shop.clock())
        return signs

    def _weigh(self, job: Job, signs: list[Signs], machines: list[Instance], gaps: Sequence[Gap]) -> Ending | None:
        """Act on what was seen; return the job's ending when it is over."""
        shop, now = self.shop, self.shop.clock()
        self.biller.note_ends(job, machines, signs)
        orders, known = shop.ledger.orders(job.id), cache(partial(shop.chronicle.outcomes, job.id))
        wish, deadline = orders.wish, orders.deadline or now
        verdicts = self._tasks.judge(job, signs, known, now, gaps)
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
        if now >= deadline:
            job = shop.ledger.job(job.id).admitted  # the limit that is told is the one of today
        # The machine's own timer and the agent's limit come first; this is the net under them.
        ending = decide(job, signs, verdicts, wish=wish, deadline=deadline, now=now)
        self._follow(job, signs, orders)
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
        """Check that every file the agents reported is there, and keep what helps to understand a failure.

        A job that is done waits for a store that does not answer; others not for long: their machines may still run.
        """
        shop, record = self.shop, self.shop.ledger.job(job_id)
        job, deadline = record.job, record.deadline
        if job is None:
            return ending

        tries = iter(range(1, 1_000_000))

        def give_up(error: CloudError) -> Ending | None:
            words = f"the results could not be checked: {error}"
            if ending.status is not JobStatus.DONE:
                if error.retryable and next(tries) < LOOKS_AT_FAILED:
                    return None
                shop.ledger.tell(job_id, words, shop.clock(), once="unchecked")
                return ending
            late = deadline is None or shop.clock() >= deadline
            reason = f"T{words[1:]}"
            return Ending(status=JobStatus.FAILED, reason=reason) if late or not error.retryable else None

        return outlast(shop, job, lambda: self._check(job, ending), give_up)

    def _check(self, job: Job, ending: Ending) -> Ending:
        if self._workplace.enter(job.id) is None:
            return ending  # it was never written: there is no machine, and no result
        shop, observer = self.shop, self._observer(job)
        signs = observer.look()
        self.biller.note_ends(job, observer.machines, signs, is_over=True)
        verdicts = self._tasks.judge(job, signs, partial(shop.chronicle.outcomes, job.id), shop.clock())
        bad = check_results(shop.cloud, job, signs)
        ending = self._tasks.close(job, signs, verdicts, ending, bad)
        note_results(shop, job, signs)
        return ending

    def destroy(self, job_id: str, ending: Ending) -> None:
        """Take everything down; return only when the cloud itself says that nothing is left."""
        shop = self.shop
        shop.ledger.conclude(job_id, ending, shop.clock())
        self._teller.write(job_id)
        self._takedown.destroy(shop.ledger.job(job_id).admitted, ending)
        self._teller.forget(job_id)
        self._known.pop(job_id, None)
        self._eyes.pop(job_id, None)

    def settle(self, job_id: str) -> None:
        """Turn the reservation into the real cost."""
        cost = self.shop.ledger.settle(job_id, self.shop.clock())
        self.shop.ledger.tell(job_id, f"cost: {cost:.4f} USD", self.shop.clock(), once="cost")

    def certify(self, job_id: str) -> str:
        """Keep the workspace as evidence, write the last certificate and the end marker, and forget the workspace."""
        record, root = self.shop.ledger.job(job_id), self._workplace.enter_if_possible(job_id)
        if root is not None and record.job is not None:
            self._keep_evidence(root, record.job)
        status = self.shop.certifier.close(job_id)
        shutil.rmtree(self.shop.jobs / job_id, ignore_errors=True)
        return status

    def _keep_evidence(self, root: Path, job: Job) -> None:
        try:
            complete_logs(self.shop.cloud, job)
            keep_evidence(self.shop.cloud, root, job.results)
            self._workplace.forget(job.id)
        except CloudError as error:
            if error.retryable:
                raise
            log.warning("the workspace %s was not kept: %s", root, error)
