"""Getting machines: apply, read what Terraform refused, try the next way, keep what started, retry the rest.

Everything is decided by what the chronicle says, so that the same call after a crash goes on where the last one was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Protocol

from compiler.job import Agent, task_values
from compiler.names import platform_bucket
from runner.attend import Attendant
from runner.capacity import (
    Shortage,
    first_attempts,
    from_the_top,
    name_tasks,
    next_way,
    read_shortage,
    side_by_side,
    waiting_for,
)
from runner.certify import REFUSAL
from runner.facts import facts_of
from runner.known import accept_quick, forget_replaced, machines, taken_back
from runner.locks import LOCK_LEASE, find_lock, others_at_work, say_at_work, say_done
from runner.monitor import Signs
from runner.reaper import sweep
from runner.shop import Shop
from runner.stopping import Stopping
from runner.workplace import Workplace
from state.chronicle import Attempt, Tried
from state.errors import TerraformError
from state.job import Ending, Job, JobStatus
from state.keys import agent_key

AGENT_URL_S = 12 * 3600
"""How long a machine may take to come up and fetch its agent; the longest that short-lived credentials can sign for."""
TRIES = 3
"""How often an apply is tried that died without saying why: its process was killed, not refused."""
PATIENCE = timedelta(minutes=10)
"""How long a task waits for a machine after all ways were tried; less than what its deadline allows for starting."""
PAUSE_S = 30.0
"""Seconds between two rounds through all ways."""
SLOW_DOWN_S = 5.0
"""Seconds of the first pause after AWS said that it is asked too often; each further one is twice as long."""
THROTTLES = 6

_SHORT = {Shortage.CAPACITY: Tried.NO_CAPACITY, Shortage.QUOTA: Tried.QUOTA}
Attend = Callable[[], bool]


class Look(Protocol):
    """Looks after the machines of a job that work already."""

    def __call__(self, job: Job, *, fresh: bool = False) -> list[Signs]:
        """Return what is seen; `fresh` leaves out nothing that was made a moment ago."""


class Furnisher:
    """Gets a machine for every task that needs one."""

    def __init__(self, shop: Shop, workplace: Workplace, look: Look) -> None:
        """Work with `shop`; `look` is called while Terraform is busy, to follow the machines that work already."""
        self._shop, self._workplace, self._look = shop, workplace, look

    def agent(self) -> Agent:
        """Publish the agent, and return where machines get it."""
        shop = self._shop
        bucket, key = platform_bucket(shop.deployment.name), agent_key(shop.agent.sha256)
        if shop.cloud.head(bucket, key) is None:
            shop.cloud.upload(shop.agent.path, bucket, key)
        return Agent(url=shop.cloud.presign(bucket, key, seconds=AGENT_URL_S), sha256=shop.agent.sha256)

    def furnish(self, job: Job) -> Ending | None:
        """Get what is missing. An ending means that the job cannot go on; None, that nothing is left to be tried."""
        shop, tries = self._shop, Counter[str]()
        self.attempts(job)
        while wanting := self.wanting(job):
            if shop.stopping():
                raise Stopping  # the next worker goes on from what the chronicle says
            try:
                self._apply(job, wanting)
            except TerraformError as error:
                if (ending := self._go_on_after(job, error, tries)) is not None:
                    return ending
            else:
                self._keep_started(job)
        if shop.ledger.job(job.id).waits is not None:
            shop.ledger.set_waiting(job.id, None)
        return self._nothing_to_be_had(job)

    def _go_on_after(self, job: Job, error: TerraformError, tries: Counter[str]) -> Ending | None:
        """Keep what works in spite of an error, and prepare the next try; an ending means that there is none."""
        wish = self._shop.ledger.stop_request(job.id)
        if wish is not None and wish.due <= self._shop.clock():
            return wish.ending
        self._keep_started(job)
        if self._shop.stopping():
            return None  # it was interrupted, which is no failure
        error = self._keep_quick(job, error)
        if not self.wanting(job) or self._break_dead_lock(job, error):
            return None
        shortage = read_shortage(error.diagnostics)
        tries[shortage or "died"] += 1
        if shortage is Shortage.THROTTLED and tries[shortage] <= THROTTLES:
            self._slow_down(job, tries[shortage], error)
        elif shortage in _SHORT:
            self._go_on(job, _SHORT[shortage], error)
        else:
            reason = self._tell_failure(job, error, tries.total())
            if error.diagnostics or tries["died"] == TRIES:
                return Ending(status=JobStatus.FAILED, reason=f"The machines could not be made: {reason}")
        return None

    def place_again(self, job: Job, attempt: Attempt, after: Attempt) -> None:
        """Let a task whose machine was taken back have another one."""
        shop, label = self._shop, name_tasks(job, [task for task in job.tasks if task.number == attempt.task])
        shop.chronicle.mark(attempt, Tried.INTERRUPTED, reason="AWS took the machine back", instance=attempt.instance)
        shop.chronicle.place([after])
        text = f"{label}: AWS took {attempt.instance or 'its machine'} back; restart {after.run} of at most "
        text += f"{job.policy.restarts} on {after.offer}"
        shop.ledger.tell(job.id, text, shop.clock(), once=f"restart/{attempt.task}/{after.number}")

    # ----------------------------------------------------------------------------------------------------------------

    def attempts(self, job: Job) -> dict[int, Attempt]:
        """Return the newest try of each task; the first ones are placed when there are none yet."""
        if not self._shop.chronicle.current(job.id):
            self._shop.chronicle.place(first_attempts(job, self._shop.clock()))
        return self._shop.chronicle.current(job.id)

    def wanting(self, job: Job) -> list[Attempt]:
        """Return the tries that are open: their tasks have no machine yet."""
        return [one for one in self._shop.chronicle.current(job.id).values() if one.outcome is Tried.OPEN]

    def _apply(self, job: Job, wanting: list[Attempt]) -> None:
        shop, root = self._shop, self._shop.jobs / job.id
        accept_quick(shop, job)
        known = machines(shop, job) if self._has_instances(job) else {}
        known = forget_replaced(shop, job, known, wanting)
        self._write_values(job, [one for one in wanting if one.number])
        # A machine that Terraform forgot (its process was killed) would write the same results as its successor.
        keep = frozenset(identity for _, identity in known.values())
        sweep(shop.cloud, deployment=shop.deployment.name, job=job.id, keep=keep, wait=shop.wait)
        self._wait_for_turn(job, len(wanting))
        with Attendant(partial(self._attend, job), every_s=shop.rhythm_s(len(job.tasks))) as stop:
            # Machines that Terraform made before are not looked at again: one that finished its task and terminated
            # itself would be made anew.
            summary = shop.terraform.apply(
                root,
                parallelism=side_by_side(len(wanting), paced=shop.pace is not None),
                log=root / "terraform.log",
                stop=stop.is_set,
                refresh=not known,
            )
        say_done(shop, job.id)
        number = max(one.number for one in wanting)
        shop.chronicle.note(job.id, f"apply/{number}", facts_of(summary))

    def _attend(self, job: Job) -> bool:
        shop = self._shop
        say_at_work(shop, job.id)
        self._look(job)
        wish = shop.ledger.stop_request(job.id)
        return shop.stopping() or (wish is not None and wish.due <= shop.clock())

    def _write_values(self, job: Job, moved: list[Attempt]) -> None:
        """Let the workspace say where the tasks stand that are tried again."""
        if not moved:
            return
        shop, tasks = self._shop, {task.number: task for task in job.tasks}
        record, agent = shop.ledger.job(job.id), self.agent()
        values = {
            str(one.task): task_values(
                record.admitted,
                tasks[one.task],
                deployment=shop.deployment,
                agent=agent,
                deadline=record.deadline or shop.clock(),
                attempt=one,
            )
            for one in moved
        }
        self._workplace.change(job.id, values)

    def _wait_for_turn(self, job: Job, count: int) -> None:
        pace = self._shop.pace
        seconds = pace.take(count, self._shop.clock()) if pace else 0.0
        if seconds > 1:
            text = f"waiting {seconds:.0f} s for this account's turn to start machines"
            self._shop.ledger.tell(job.id, text, self._shop.clock(), once="turn")
            self._shop.ledger.set_waiting(job.id, "this account's turn to start machines")
        self._pause(job, seconds)

    def _keep_started(self, job: Job) -> None:
        """Keep which machines there are now; they work already, whatever became of the others."""
        shop = self._shop
        known, past = machines(shop, job), taken_back(shop, job)
        for one in self.wanting(job):
            if one.task in known and known[one.task][1] not in past:
                shop.chronicle.mark(one, Tried.STARTED, instance=known[one.task][1])

    def _keep_quick(self, job: Job, error: TerraformError) -> TerraformError:
        """Keep machines that were done before Terraform looked at them; return the error without them.

        Terraform first looks at a new instance after 10 s, under load later. One that has finished its task by then
        and turned itself off is a failure to it; to us it is a machine whose agent was heard.
        """
        shop, tainted = self._shop, machines(self._shop, job, tainted=True)
        heard = {one.instance.id for one in self._look(job, fresh=True) if one.instance and (one.heard or one.report)}
        quick = [one for one in self.wanting(job) if tainted.get(one.task, ("", ""))[1] in heard]
        for one in quick:
            shop.chronicle.mark(one, Tried.STARTED, instance=tainted[one.task][1])
        names = {tainted[one.task][1] for one in quick}
        left = [text for text in error.diagnostics if not any(name in text for name in names)]
        return TerraformError(str(error), command=error.command, diagnostics=left, log=error.log)

    def _go_on(self, job: Job, outcome: Tried, error: TerraformError) -> None:
        """Try the next way for the tasks that got no machine; after the last one, wait and begin again, or give up."""
        shop, now = self._shop, self._shop.clock()
        missed = self.wanting(job)
        if not missed:
            return
        reason = error.diagnostics[0]
        text = f"{outcome}: {waiting_for(missed)}: {reason}"
        shop.ledger.tell(job.id, text, now, kind=REFUSAL, once=f"miss/{max(one.number for one in missed)}")
        shop.ledger.set_waiting(job.id, f"machines ({outcome}: {waiting_for(missed)}); the next choice is tried")
        following = {one.task: next_way(job, one, now) for one in missed}
        rounds = {(one.task, one.run) for one in missed}
        begun = min(one.at for one in shop.chronicle.attempts(job.id) if (one.task, one.run) in rounds)
        patient = now - begun < PATIENCE
        if any(one is None for one in following.values()) and patient:
            shop.ledger.tell(job.id, f"all ways were tried; once more in {PAUSE_S:.0f} s", now)
            self._pause(job, PAUSE_S)
        for one in missed:
            after = following[one.task] or (from_the_top(job, one, shop.clock()) if patient else None)
            if after is None:
                words = f"no machine was to be had in {PATIENCE.seconds // 60} minutes ({outcome}: {reason})"
                shop.chronicle.mark(one, Tried.GIVEN_UP, reason=words)
            else:
                shop.chronicle.mark(one, outcome, reason=reason)
                shop.chronicle.place([after])

    def _slow_down(self, job: Job, times: int, error: TerraformError) -> None:
        shop, seconds = self._shop, SLOW_DOWN_S * 2 ** (times - 1)
        text = f"AWS asks for a slower pace; going on in {seconds:.0f} s: {error.diagnostics[0]}"
        shop.ledger.tell(job.id, text, shop.clock())
        if shop.pace is not None:
            shop.pace.slow_down(seconds, shop.clock())
        self._pause(job, seconds)

    def _pause(self, job: Job, seconds: float) -> None:
        """Wait, and go on looking after the machines that work already; a wish to stop ends the waiting."""
        until = self._shop.clock() + timedelta(seconds=seconds)
        while (left := (until - self._shop.clock()).total_seconds()) > 0 and not self._attend(job):
            self._shop.wait(min(left, max(self._shop.look_s, 1.0)))

    def _tell_failure(self, job: Job, error: TerraformError, times: int) -> str:
        reason = error.diagnostics[0] if error.diagnostics else str(error)
        kind = REFUSAL if error.diagnostics else "note"
        self._shop.ledger.tell(job.id, f"Terraform failed (try {times}): {reason}", self._shop.clock(), kind=kind)
        return reason

    def _nothing_to_be_had(self, job: Job) -> Ending | None:
        current = self._shop.chronicle.current(job.id).values()
        if not all(one.outcome is Tried.GIVEN_UP for one in current):
            return None
        first = next(iter(current))
        tried = dict.fromkeys(str(one.offer) for one in self._shop.chronicle.attempts(job.id))
        reason = f"{first.reason[:1].upper()}{first.reason[1:]}. Tried: {'; '.join(tried)}."
        return Ending(status=JobStatus.FAILED, reason=reason)

    def _has_instances(self, job: Job) -> bool:
        return bool(self._shop.cloud.instances(deployment=self._shop.deployment.name, job=job.id))

    def _break_dead_lock(self, job: Job, error: TerraformError) -> bool:
        """Break a lock whose holder is dead: no other worker has said lately that it runs Terraform for this job."""
        found = find_lock(error)
        if found is None:
            return False
        shop, now = self._shop, self._shop.clock()
        others = others_at_work(shop, job.id, now)
        if others:
            shop.ledger.tell(job.id, f"waiting for the Terraform of {', '.join(others)}", now, once="locked")
            self._pause(job, LOCK_LEASE.total_seconds())
            return True
        shop.terraform.unlock(shop.jobs / job.id, found)
        shop.ledger.tell(job.id, f"broke the lock {found} of a Terraform that is dead", now)
        return True
