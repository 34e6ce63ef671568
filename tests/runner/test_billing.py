"""A machine is billed from its launch to its own end, however long its job goes on and whatever EC2 remembers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner.cloud_values import Instance
from runner.monitor import Signs
from state.job import JobStatus
from tests.fakes.jobs import NOW, a_job
from tests.runner.stage import Stage

DAY = 25 * 3600
MINUTE = Decimal("0.0016")
"""USD for a minute of the job's machine."""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Two tasks whose machines are up: the first is over after a minute, the second may take 25 hours."""
    made = Stage(tmp_path, a_job(datasets=2, duration_s=DAY))
    made.worker.prepare(made.job.id)
    made.worker.provision(made.job.id)
    made.pass_time(60)
    made.report(0, ended=made.now.isoformat())
    made.cloud.end(made.made[0])
    return made


def finish(stage: Stage) -> list[int]:
    """Let the second task end after 25 hours; return the seconds that each machine is billed for."""
    stage.now = NOW + timedelta(seconds=DAY)
    del stage.cloud.store.machines[stage.made[0]]  # EC2 forgets a machine about an hour after its end
    stage.report(1, ended=stage.now.isoformat())
    stage.cloud.end(stage.made[1])
    job = stage.job.id
    ending = stage.worker.collect(job, asyncio.run(stage.worker.monitor(job)))
    stage.pass_time(600)
    stage.worker.destroy(job, ending)
    stage.worker.settle(job)
    stage.worker.certify(job)
    assert stage.ledger.job(job).status is JobStatus.DONE
    return [int(one.seconds) for one in stage.ledger.usage(job, stage.now)]


def test_a_machine_that_is_gone_costs_nothing_more_while_its_job_goes_on(stage: Stage) -> None:
    looks = len(stage.cloud.calls_of("list")) + 3
    stage.watch_until(lambda: len(stage.cloud.calls_of("list")) > looks)
    stage.pass_time(1200)
    second = MINUTE * 21
    assert stage.ledger.running_costs(stage.now)[stage.job.id] == MINUTE + second
    assert finish(stage) == [60, DAY]
    assert stage.ledger.job(stage.job.id).cost == MINUTE + Decimal("2.4")


def test_a_machine_that_ec2_forgot_before_anybody_looked_ended_when_its_agent_said_so(stage: Stage) -> None:
    assert finish(stage) == [60, DAY]


def test_a_machine_that_was_held_and_forgotten_is_billed_until_it_was_let_go(stage: Stage) -> None:
    held = stage.now + timedelta(minutes=30)
    stage.report(0, status="FAILED", ending="failed", ended=stage.now.isoformat(), held_until=held.isoformat())
    biller = stage.worker.biller
    signs = [Signs(task=stage.job.tasks[0], report={"ended": stage.now.isoformat(), "held_until": held.isoformat()})]
    stage.now = NOW + timedelta(hours=2)
    biller.note_ends(stage.job, [stage.cloud.store.machines[stage.made[1]]], signs)
    assert stage.ledger.usage(stage.job.id, stage.now)[0].end == held


def test_without_any_word_the_first_look_at_a_gone_machine_is_its_end(stage: Stage) -> None:
    gone = Instance(
        id=stage.made[1], job=stage.job.id, task=1, state="terminated", type="m5.large", launched=NOW, ended=None
    )
    stage.pass_time(60)
    stage.worker.biller.note_ends(stage.job, [gone])
    stage.pass_time(60)
    stage.worker.biller.note_ends(stage.job, [gone])
    assert stage.ledger.usage(stage.job.id, stage.now)[1].seconds == 120


def test_a_machine_that_ec2_leaves_out_of_its_list_once_is_billed_on(stage: Stage) -> None:
    signs = [Signs(task=stage.job.tasks[1], heard=stage.now)]
    stage.worker.biller.note_ends(stage.job, [], signs)
    stage.pass_time(60)
    assert stage.ledger.usage(stage.job.id, stage.now)[1].seconds == 120
    stage.worker.biller.note_ends(stage.job, [], signs, is_over=True)
    stage.pass_time(60)
    assert stage.ledger.usage(stage.job.id, stage.now)[1].seconds == 60
