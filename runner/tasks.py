"""The tasks of a job: how each ended, why the silent ones fell silent, and that no machine stays on for nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runner.cloud_reading import leftover_of
from runner.collect import keep_console
from runner.diagnosis import diagnose
from runner.monitor import Gap, Signs, Verdict, judge, outcome_of
from runner.shop import Shop
from state.chronicle import Outcome, TaskEnding
from state.errors import CloudError
from state.job import Ending, Job, JobStatus

LINGER = timedelta(seconds=60)
"""How long a machine may take to turn itself off after its report; then it is terminated."""

Known = Callable[[], Mapping[int, Outcome]]
"""Reads the endings that are kept of a job's tasks, by number; asked only when one has ended."""

log = logging.getLogger(__name__)


class TaskKeeper:
    """Keeps the endings of tasks, and lets their machines go one by one."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self._shop = shop

    def judge(
        self,
        job: Job,
        all_signs: list[Signs],
        known: Known,
        now: datetime,
        gaps: Sequence[Gap] = (),
    ) -> dict[int, Verdict]:
        """Return how the tasks ended that are over, by number; `known` reads what was found out of them before.

        A silent task is diagnosed when it is first found so; what was found then stays, because its machine goes. What
        happened in `gaps` is not held against it: nobody could look.
        """
        verdicts: dict[int, Verdict] = {}
        for signs in all_signs:
            verdict = judge(signs, now, self._shop.patience, gaps)
            if verdict is None:
                continue
            if verdict.ending == "lost":
                before = known().get(signs.task.number)
                reason = before.reason if before else self._diagnose(job, signs, verdict)
                verdict = replace(verdict, reason=reason)
            verdicts[signs.task.number] = verdict
        return verdicts

    def note(self, job: Job, all_signs: list[Signs], verdicts: Mapping[int, Verdict], known: Known) -> None:
        """Keep each ending once, and tell of failures at once, not when the slowest task is done."""
        for signs in all_signs:
            verdict = verdicts.get(signs.task.number)
            if verdict is None or verdict.ending == "stopped" or signs.task.number in known():
                continue
            outcome = outcome_of(signs.task, verdict, None)
            self._shop.chronicle.end_task(job.id, outcome)
            if outcome.ending is not TaskEnding.SUCCEEDED and len(job.tasks) > 1:
                text = f"{job.label(signs.task)}: {outcome.ending}: {outcome.reason}"
                self._shop.ledger.tell(job.id, text, self._shop.clock(), once=f"task/{signs.task.number}")
            if signs.is_held(self._shop.clock()) and signs.instance is not None and signs.report is not None:
                text = f"{job.label(signs.task)}: {signs.instance.id} is held until {signs.report['held_until']}"
                self._shop.ledger.tell(job.id, text, self._shop.clock(), once=f"held/{signs.task.number}")

    def let_go(self, job: Job, all_signs: list[Signs], verdicts: Mapping[int, Verdict], now: datetime) -> None:
        """Terminate machines of tasks that are over and that did not turn themselves off."""
        for signs in all_signs:
            verdict, instance = verdicts.get(signs.task.number), signs.instance
            if (
                verdict is None
                or instance is None
                or instance.state not in {"pending", "running"}
                or signs.is_held(now)
            ):
                continue
            if signs.reported is not None and now - signs.reported < LINGER:
                continue
            try:
                self._shop.cloud.remove(leftover_of(instance))
            except CloudError as error:  # the job's own end, and the reaper, come again
                log.warning("job %s: %s", job.id, error)
                continue
            text = f"{job.label(signs.task)}: terminated {instance.id}, which did not turn itself off"
            self._shop.ledger.tell(job.id, text, now, once=f"let-go/{instance.id}")

    def close(
        self,
        job: Job,
        all_signs: list[Signs],
        verdicts: Mapping[int, Verdict],
        ending: Ending,
        bad: Mapping[int, tuple[str, ...]],
    ) -> Ending:
        """Keep how every task ended, and return how the job does: worse than meant when results are missing.

        Args:
            job: which.
            all_signs: what was seen last.
            verdicts: of the tasks that are over.
            ending: how the job was to end.
            bad: result files that are missing or damaged, with what is wrong, by task.
        """
        for signs in all_signs:
            number = signs.task.number
            outcome = outcome_of(signs.task, verdicts.get(number), ending)
            if bad.get(number):
                words = f"results are missing from the bucket: {', '.join(bad[number][:5])}"
                outcome = Outcome(task=number, ending=TaskEnding.FAILED, reason=words)
            self._shop.chronicle.end_task(job.id, outcome)
            if signs.report is None:
                self._keep_console(job, signs)
        lost = [name for names in bad.values() for name in names]
        if ending.status is JobStatus.DONE and lost:
            reason = f"Results are missing from the bucket: {', '.join(lost[:5])}."
            return Ending(status=JobStatus.FAILED, reason=reason)
        return ending

    def _diagnose(self, job: Job, signs: Signs, verdict: Verdict) -> str:
        why = diagnose(signs, self._keep_console(job, signs))
        return f"{verdict.reason}: {why}" if why else verdict.reason

    def _keep_console(self, job: Job, signs: Signs) -> str:
        return keep_console(self._shop.cloud, job, signs)
