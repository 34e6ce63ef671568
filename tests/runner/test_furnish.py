"""Getting machines: the next way when there are none, keeping what started, starting again what was taken back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compiler.parts import Choice, Price
from runner.capacity import Shortage, offers, read_shortage, side_by_side
from runner.stopping import Stopping, pause
from runner.worker import Worker
from state.chronicle import TaskEnding, Tried
from state.errors import TerraformError
from state.job import Ending, JobStatus, Offer, Policy
from state.pace import Pace
from tests.fakes.jobs import NOW, a_job
from tests.runner.stage import NO_CAPACITY, Stage

P = Decimal("0.096")
WAYS = (
    Offer(instance_type="m5.large", zone="us-east-1a", hourly_price=P),
    Offer(instance_type="m5.large", zone="us-east-1b", hourly_price=P),
    Offer(instance_type="m6i.large", hourly_price=Decimal("0.1")),
)
SAVE = (Offer(instance_type="m5.large", spot=True, hourly_price=P), Offer(instance_type="m5.large", hourly_price=P))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("creating EC2 Instance: InsufficientInstanceCapacity: We currently do not have", Shortage.CAPACITY),
        ("api error SpotMaxPriceTooLow: Your Spot request price is lower", Shortage.CAPACITY),
        ("unexpected state 'shutting-down': Server.SpotInstanceTermination", Shortage.CAPACITY),
        (
            "api error Unsupported: Your requested instance type (p4d) is not supported in",
            Shortage.CAPACITY,
        ),
        ("VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit of 5", Shortage.QUOTA),
        ("MaxSpotInstanceCountExceeded: Max spot instance count exceeded", Shortage.QUOTA),
        ("RequestLimitExceeded: Request limit exceeded.", Shortage.THROTTLED),
        ("UnauthorizedOperation: You are not authorized to perform this operation", None),
        ("InvalidAMIID.NotFound", None),
    ],
)
def test_terraforms_words_are_understood(text: str, kind: Shortage | None) -> None:
    assert read_shortage([text]) is kind


def test_one_refusal_that_no_other_machine_mends_decides() -> None:
    assert read_shortage(["RequestLimitExceeded", "InsufficientInstanceCapacity"]) is Shortage.CAPACITY
    assert read_shortage(["InsufficientInstanceCapacity", "UnauthorizedOperation"]) is None
    assert read_shortage([]) is None


def test_ways_follow_the_resource_bank_and_end_at_the_standard_price() -> None:
    bank = [
        Choice(instance_type="m5.large", zones=("us-east-1a", "us-east-1b"), price=Price.SAVE),
        Choice(instance_type="m6i.large"),
        Choice(instance_type="m6i.large", region="eu-west-1"),
    ]
    hourly = {"m5.large": P, "m6i.large": P}

    def ways(minutes: int, *, declared: bool) -> list[str]:
        found = offers(bank, region="us-east-1", hourly=hourly, duration_s=minutes * 60, declared=declared)
        return [f"{one.instance_type} {one.zone} {one.spot}" for one in found]

    standard = ["m5.large us-east-1a False", "m5.large us-east-1b False"]
    spot = ["m5.large us-east-1a True", "m5.large us-east-1b True", "m6i.large None False", *standard]
    assert ways(360, declared=True) == spot
    assert ways(361, declared=True) == ways(60, declared=False) == [*standard, "m6i.large None False"]


def test_without_capacity_the_next_way_is_tried_and_each_try_is_told_with_its_price(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=WAYS))
    stage.on_machine = lambda number, _: stage.report(number)
    stage.refuses = lambda task: NO_CAPACITY.format("m5") if task.get("instance_type") is None else ""
    assert stage.run() is JobStatus.DONE
    assert [(one.outcome, str(one.offer)) for one in stage.chronicle.attempts(stage.job.id)] == [
        (Tried.NO_CAPACITY, "m5.large in us-east-1a, 0.096 USD/h"),
        (Tried.NO_CAPACITY, "m5.large in us-east-1b, 0.096 USD/h"),
        (Tried.STARTED, "m6i.large, 0.1 USD/h"),
    ]
    text = stage.text(stage.job.results.certificate)
    assert "no capacity: 1 x m5.large in us-east-1b, 0.096 USD/h: InsufficientInstanceCapacity" in text
    assert "[Try] dataset 1, try 3: m6i.large, 0.1 USD/h: started" in text
    assert [one["outcome"] for one in stage.certificate["attempts"]] == ["no capacity", "no capacity", "started"]
    assert stage.ledger.usage(stage.job.id, stage.now)[0].hourly_price == Decimal("0.1")
    assert stage.now - NOW < timedelta(seconds=60)  # nobody waited between the tries


def test_what_started_is_kept_and_only_the_rest_is_tried_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=3, offers=WAYS))
    stage.on_machine = lambda number, _: stage.report(number)
    stage.refuses = lambda task: (
        NO_CAPACITY.format("m5") if task["task"] == 1 and task.get("zone") == "us-east-1a" else ""
    )
    assert stage.run() is JobStatus.DONE
    assert [one["task"] for one in stage.asked] == [0, 1, 2, 1]
    assert stage.asked[-1]["zone"] == "us-east-1b"
    assert len(stage.ledger.usage(stage.job.id, stage.now)) == 3
    applies = [call.options["refresh"] for call in stage.terraform.calls if call.command == "apply"]
    assert applies == [True, False]


def test_a_task_that_gets_no_machine_fails_and_the_others_are_done(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=2, offers=WAYS), look_s=15)
    stage.on_machine = lambda number, _: stage.report(number)
    stage.refuses = lambda task: NO_CAPACITY.format("any") if task["task"] == 1 else ""
    assert stage.run() is JobStatus.FAILED
    end = stage.text(stage.job.results.end)
    assert "1 of 2 datasets failed: b.npy: no machine was to be had in 10 minutes (no capacity" in end
    assert stage.chronicle.outcomes(stage.job.id)[0].ending is TaskEnding.SUCCEEDED
    assert timedelta(minutes=10) < stage.now - NOW < timedelta(minutes=14)
    assert stage.left == []


def test_when_there_is_nothing_at_all_the_reason_names_what_was_tried(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=WAYS), look_s=15)
    stage.refuses = lambda _: "VcpuLimitExceeded: your limit is 0"
    assert stage.run() is JobStatus.FAILED
    end = stage.text(stage.job.results.end)
    assert "No machine was to be had in 10 minutes (quota: VcpuLimitExceeded" in end
    assert "Tried: m5.large in us-east-1a, 0.096 USD/h; m5.large in us-east-1b, 0.096 USD/h; m6i.large" in end
    assert stage.left == []


def test_a_machine_that_was_done_before_terraform_looked_is_no_failure_and_is_not_made_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=3, offers=WAYS))
    stage.on_machine = lambda number, _: stage.report(number)
    stage.quick = {0, 2}
    stage.refuses = lambda task: (
        NO_CAPACITY.format("m5") if (task["task"], task.get("instance_type")) == (1, None) else ""
    )
    assert stage.run() is JobStatus.DONE
    assert [one["task"] for one in stage.asked] == [0, 1, 2, 1, 1]
    assert len(stage.made) == 3
    assert [call.options["addresses"] for call in stage.terraform.calls if call.command == "untaint"] == [
        ('module.job.aws_instance.task["0"]', 'module.job.aws_instance.task["2"]')
    ]
    assert "Terraform failed" not in stage.text(stage.job.results.certificate)


def test_a_machine_that_ended_without_a_word_before_terraform_looked_is_a_failure(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.quick = {0}
    assert stage.run() is JobStatus.FAILED
    assert "terminated" in stage.text(stage.job.results.end)
    assert stage.left == []


def test_throttling_slows_down_and_stays_on_the_same_way(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=WAYS))
    stage.on_machine = lambda number, _: stage.report(number)
    busy = TerraformError("apply failed", command="apply", diagnostics=["RequestLimitExceeded: slow down"])
    stage.terraform.fail("apply", busy, busy)
    assert stage.run() is JobStatus.DONE
    assert len(stage.chronicle.attempts(stage.job.id)) == 1
    assert stage.now - NOW >= timedelta(seconds=15)  # 5, then 10
    assert "AWS asks for a slower pace" in stage.text(stage.job.results.certificate)


def test_all_workers_of_an_account_share_one_pace(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.on_machine = lambda number, _: stage.report(number)
    pace = Pace(engine=stage.ledger.engine, name="account")
    pace.take(25, NOW)  # what another worker starts
    stage.worker.shop = replace(stage.worker.shop, pace=pace)
    stage.worker.__init__(stage.worker.shop)  # type: ignore[misc]
    assert stage.run() is JobStatus.DONE
    assert stage.now - NOW >= timedelta(seconds=10)
    assert "this account's turn to start machines" in stage.text(stage.job.results.certificate)
    assert (side_by_side(70, paced=True), side_by_side(70, paced=False)) == (25, 70)


def interrupt(stage: Stage, number: int, machine: str) -> None:
    """AWS takes the machine back; its agent has said so."""
    run = stage.chronicle.current(stage.job.id)[number].run
    stage.report(number, status="FAILED", ending="interrupted", reason="AWS takes this spot machine back", run=run)
    stage.cloud.end(machine, "Server.SpotInstanceTermination: Spot instance termination")


def test_a_task_whose_spot_machine_is_taken_back_goes_on_on_a_standard_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=2, offers=SAVE))
    stage.cloud.store.spot_prices["m5.large"] = Decimal("0.03")

    def act(number: int, machine: str) -> None:
        if number == 1 and stage.cloud.store.machines[machine].spot:
            interrupt(stage, number, machine)
        else:
            stage.report(number, run=stage.chronicle.current(stage.job.id)[number].run)

    stage.on_machine = act
    assert stage.run() is JobStatus.DONE
    tries = [(one.task, one.offer.spot, one.run, one.outcome) for one in stage.chronicle.attempts(stage.job.id)]
    assert tries == [(0, True, 0, Tried.STARTED), (1, True, 0, Tried.INTERRUPTED), (1, False, 1, Tried.STARTED)]
    paid = [(one.task, one.spot, one.hourly_price) for one in stage.ledger.usage(stage.job.id, stage.now)]
    assert paid == [(0, True, Decimal("0.03")), (1, True, Decimal("0.03")), (1, False, P)]
    assert "b.npy: AWS took" in stage.text(stage.job.results.certificate)
    assert [call.options["addresses"] for call in stage.terraform.calls if call.command == "state rm"] == [
        ('module.job.aws_instance.task["1"]',)
    ]
    assert stage.left == []


def test_it_may_stay_on_spot_and_is_given_up_after_so_many_restarts(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=SAVE, policy=Policy(restarts=2, stay_on_spot=True)))
    stage.on_machine = lambda number, machine: interrupt(stage, number, machine)
    assert stage.run() is JobStatus.INTERRUPTED
    assert [one.offer.spot for one in stage.chronicle.attempts(stage.job.id)] == [True] * 3
    assert stage.chronicle.outcomes(stage.job.id)[0].ending is TaskEnding.INTERRUPTED
    assert "end of analysis: interrupted" in stage.text(stage.job.results.end)
    assert stage.left == []


def test_a_machine_that_still_saves_its_checkpoint_is_not_replaced_yet(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=SAVE))
    looks: list[Any] = []

    def act(number: int, machine: str) -> None:
        if stage.cloud.store.machines[machine].spot:
            stage.cloud.store.machines[machine] = replace(
                stage.cloud.store.machines[machine], reason="Server.SpotInstanceTermination"
            )
            looks.append(machine)
        else:
            stage.report(number, run=1)

    stage.on_machine = act
    stage.worker.prepare(stage.job.id)
    stage.worker.provision(stage.job.id)
    assert len(stage.asked) == 1
    interrupt(stage, 0, looks[0])
    assert stage.run() is JobStatus.DONE
    assert len(stage.asked) == 2


def test_a_wish_to_stop_ends_the_waiting_for_capacity(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=WAYS))

    def refuse(task: dict[str, Any]) -> str:
        if task.get("instance_type") == "m6i.large":
            stage.ledger.request_cancel(stage.job.id, "changed my mind", stage.now)
        return NO_CAPACITY.format("any")

    stage.refuses = refuse
    assert stage.run() is JobStatus.CANCELLED
    assert stage.now - NOW < timedelta(minutes=2)


def test_over_budget_machines_are_told_to_save_what_they_have_and_then_go(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())

    def act(number: int, _: str) -> None:
        over = Ending(status=JobStatus.OVER_BUDGET, reason="the budget is spent")
        stage.ledger.request_stop(stage.job.id, over, stage.now, grace=timedelta(minutes=2))
        stage.report(number, status="FAILED", ending="stopped", reason="told to stop")

    stage.on_machine = act
    assert stage.run() is JobStatus.OVER_BUDGET
    said = stage.text(stage.job.results.platform)
    assert '"reason": "the budget is spent"' in said
    assert stage.chronicle.outcomes(stage.job.id)[0].ending is TaskEnding.OVER_BUDGET


def test_a_worker_that_is_to_end_interrupts_its_apply_and_the_next_one_goes_on(tmp_path: Path) -> None:
    stage, stop = Stage(tmp_path, a_job()), threading.Event()
    shop, job = stage.worker.shop, stage.job.id
    leaving = Worker(replace(shop, wait=partial(pause, stop), stopping=stop.is_set))
    leaving.prepare(job)
    stage.terraform.hold("apply")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(leaving.provision, job)
        moment = threading.Event()
        while "apply" not in stage.terraform.commands() and not under_way.done():
            moment.wait(0.01)
        stop.set()
        with pytest.raises(Stopping):
            under_way.result(20)
    assert stage.ledger.job(job).ending is None
    assert stage.chronicle.current(job)[0].outcome is Tried.OPEN
    stage.terraform.hold("apply").set()
    stage.on_machine = lambda number, _: stage.report(number)
    assert stage.run() is JobStatus.DONE
    assert not any("Terraform failed" in line.text for line in stage.ledger.story(job))


def test_a_worker_that_is_to_end_does_not_spin_through_its_pauses(tmp_path: Path) -> None:
    stage, stop = Stage(tmp_path, a_job()), threading.Event()
    stage.refuses = lambda _: NO_CAPACITY.format("m5")
    leaving = Worker(replace(stage.worker.shop, wait=partial(pause, stop), stopping=stop.is_set))
    leaving.prepare(stage.job.id)
    stop.set()
    with pytest.raises(Stopping):
        leaving.provision(stage.job.id)
    assert len(stage.asked) <= 1
