"""Any order of events, crashes and takeovers leaves the ledger with what a simple model says: the same jobs, the same
money, one ending each."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from state.chronicle import METADATA
from state.database import connect, sqlite_url
from state.errors import BudgetError
from state.inbox import Inbox
from state.job import Ending, JobStatus
from state.ledger import Ledger
from state.tables import USAGE
from state.usage import Usage
from tests.fakes.jobs import NOW, a_job, a_source

CAP = Decimal(20)
PRICE = Decimal("3.6")  # USD per hour: a second is a tenth of a cent
ENDINGS = [JobStatus.DONE, JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.CANCELLED]


class CrashError(Exception):
    """Stands for a process that dies inside a transaction."""


@dataclass
class Model:
    """What one job should look like."""

    number: int
    bound: Decimal
    status: JobStatus = JobStatus.ADMITTED
    ending: Ending | None = None
    cost: Decimal | None = None
    cancelled: bool = False
    machines: dict[str, tuple[datetime, datetime | None]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return a_job(self.number).id

    def price(self, now: datetime) -> Decimal:
        spans = [(end or now) - start for start, end in self.machines.values()]
        return sum(
            ((PRICE * Decimal(span.total_seconds()) / 3600).quantize(Decimal("0.0001")) for span in spans), Decimal(0)
        )


class LedgerMachine(RuleBasedStateMachine):
    """One group, one budget, and workers that may die after any call."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mayfly-machine-"))
        self.url = sqlite_url(self.folder / "ledger.db")
        self.now, self.jobs, self.refused = NOW, list[Model](), 0
        self.ledger = self.open()
        METADATA.create_all(self.ledger.engine)

    def open(self) -> Ledger:
        return Ledger(connect(self.url))

    def teardown(self) -> None:
        self.ledger.engine.dispose()
        shutil.rmtree(self.folder)

    def pick(self, number: int, *statuses: JobStatus) -> Model | None:
        fitting = [job for job in self.jobs if not statuses or job.status in statuses]
        return fitting[number % len(fitting)] if fitting else None

    def committed(self) -> Decimal:
        return sum((job.bound if job.cost is None else job.cost for job in self.jobs), Decimal(0))

    def admit(self, number: int, bound: Decimal, **options: Any) -> bool:
        job, source = a_job(number), a_source(number)
        Inbox(self.ledger.engine).record(source, self.now)
        return self.ledger.admit(job, source=source, bound=bound, cap=CAP, since=None, at=self.now, **options)

    # what may happen, in any order

    @rule(seconds=st.integers(1, 7200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(cents=st.integers(1, 900))
    def submit(self, cents: int) -> None:
        bound, number = Decimal(cents) / 100, len(self.jobs) + self.refused
        if self.committed() + bound > CAP:
            with pytest.raises(BudgetError):
                self.admit(number, bound)
            self.refused += 1
        else:
            assert self.admit(number, bound)
            self.jobs.append(Model(number=number, bound=bound))

    @rule(cents=st.integers(1, 900))
    def crash_while_admitting(self, cents: int) -> None:
        def die(*_: object) -> None:
            raise CrashError

        if self.committed() + Decimal(cents) / 100 <= CAP:
            with pytest.raises(CrashError):
                self.admit(len(self.jobs) + self.refused, Decimal(cents) / 100, enqueue=die)

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 99))
    def event_arrives_again(self, number: int) -> None:
        job = self.pick(number)
        assert job is not None
        assert not self.admit(job.number, job.bound)

    @rule(number=st.integers(0, 99))
    def start(self, number: int) -> None:
        if job := self.pick(number, JobStatus.ADMITTED, JobStatus.PROVISIONING):
            self.ledger.advance(job.id, JobStatus.PROVISIONING, self.now)
            job.status = JobStatus.PROVISIONING
            self.launch(job)

    def launch(self, job: Model) -> None:
        instance = f"i-{job.number}-{len(job.machines)}"
        job.machines[instance] = (self.now, None)
        self.note(job, instance, ended=False)

    def note(self, job: Model, instance: str, *, ended: bool) -> None:
        one = Usage(
            job=job.id,
            task=0,
            instance=instance,
            instance_type="m5.large",
            spot=False,
            hourly_price=PRICE,
            start=job.machines[instance][0],
            end=self.now,
        )
        self.ledger.note_usage(job.id, [one], ended=ended)

    @rule(number=st.integers(0, 99))
    def heartbeat(self, number: int) -> None:
        if job := self.pick(number, JobStatus.PROVISIONING, JobStatus.RUNNING):
            self.ledger.advance(job.id, JobStatus.RUNNING, self.now)
            job.status = JobStatus.RUNNING
            for instance in job.machines:  # what is known already is noted again at each look
                self.note(job, instance, ended=False)

    @rule(number=st.integers(0, 99), machine=st.integers(0, 9))
    def machine_ends(self, number: int, machine: int) -> None:
        job = self.pick(number, JobStatus.RUNNING, JobStatus.DESTROYING)
        if job and job.machines and job.cost is None:
            instance = sorted(job.machines)[machine % len(job.machines)]
            start, end = job.machines[instance]
            self.note(job, instance, ended=True)
            job.machines[instance] = (start, end or self.now)

    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        if job := self.pick(number):
            assert self.ledger.request_cancel(job.id, "enough", self.now) is (job.ending is None)
            job.cancelled |= job.ending is None

    @rule()
    def crash(self) -> None:
        self.ledger.engine.dispose()
        self.ledger = self.open()

    @rule(number=st.integers(0, 99))
    def takeover(self, number: int) -> None:
        """Another worker repeats the step in which the first one died."""
        job = self.pick(number)
        if job is None:
            return
        if job.status.is_final:
            assert self.ledger.finish(job.id, self.now) is job.status
            assert self.ledger.settle(job.id, self.now) == job.cost
        elif job.ending is not None:
            other = Ending(status=JobStatus.FAILED, reason="the second worker thinks otherwise")
            assert self.ledger.conclude(job.id, other, self.now) == job.ending
        else:
            self.ledger.advance(job.id, job.status, self.now)

    @rule(number=st.integers(0, 99), status=st.sampled_from(ENDINGS))
    def finish(self, number: int, status: JobStatus) -> None:
        if job := self.pick(number, JobStatus.ADMITTED, JobStatus.PROVISIONING, JobStatus.RUNNING):
            ending = Ending(status=JobStatus.CANCELLED if job.cancelled else status, reason="so it went")
            job.ending = self.ledger.conclude(job.id, ending, self.now)
            assert job.ending == ending
            job.status = JobStatus.DESTROYING

    @rule(number=st.integers(0, 99))
    def settle(self, number: int) -> None:
        job = self.pick(number, JobStatus.DESTROYING)
        if job and job.ending:
            cost = self.ledger.settle(job.id, self.now)
            if job.cost is None:
                job.cost = job.price(self.now)
                job.machines = {name: (start, end or self.now) for name, (start, end) in job.machines.items()}
            assert cost == job.cost
            self.ledger.finish(job.id, self.now)
            job.status = job.ending.status

    # what must hold after each

    @invariant()
    def money_adds_up(self) -> None:
        assert self.ledger.committed("lab1", None) == self.committed()

    @invariant()
    def jobs_are_as_the_model_says(self) -> None:
        records = {record.id: record for record in self.ledger.jobs(limit=1000)}
        assert records.keys() == {job.id for job in self.jobs}
        for job in self.jobs:
            record = records[job.id]
            assert (record.status, record.ending, record.cost) == (job.status, job.ending, job.cost)
        assert {record.id for record in self.ledger.running()} == {j.id for j in self.jobs if not j.status.is_final}

    @invariant()
    def every_machine_is_billed_once(self) -> None:
        with self.ledger.engine.connect() as connection:
            rows = connection.execute(sa.select(USAGE)).all()
        assert sorted(row.instance for row in rows) == sorted(name for job in self.jobs for name in job.machines)
        over = {job.id for job in self.jobs if job.cost is not None}
        assert all(row.end is not None for row in rows if row.job in over)

    @invariant()
    def no_event_of_a_known_job_is_open(self) -> None:
        known = {a_source(job.number) for job in self.jobs}
        assert not known & set(Inbox(self.ledger.engine).pending())


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
