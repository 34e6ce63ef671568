from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from runner.waiting import explain
from state.job import JobStatus, Offer
from tests.fakes.jobs import a_job
from tests.runner.stage import NO_CAPACITY, Stage

WAYS = (
    Offer(instance_type="m5.large", zone="us-east-1a", hourly_price=Decimal("0.096")),
    Offer(instance_type="m6i.large", hourly_price=Decimal("0.1")),
)


def test_a_job_that_gets_no_machine_says_of_which_kind_and_where(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(offers=WAYS))
    said: list[str] = []

    def refuse(_: dict[str, Any]) -> str:
        said.append(explain(stage.ledger, stage.ledger.job(stage.job.id)).why)
        return NO_CAPACITY.format("m5") if len(said) == 1 else ""

    stage.refuses = refuse
    stage.on_machine = lambda number, _: stage.report(number)
    assert stage.run() is JobStatus.DONE
    assert said == [
        "It does not wait: it is provisioning.",
        "It waits for machines (no capacity: 1 x m5.large in us-east-1a, 0.096 USD/h); the next choice is tried.",
    ]
    assert stage.ledger.job(stage.job.id).waits is None
