from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from compiler.model import Platform
from compiler.profile import Budget
from runner.allowance import GRACE, guard_budgets
from runner.gatekeeper import caps_of
from state.database import sqlite_url
from state.dispatch import Gate
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from state.notices import Notices
from state.reservation import Reservation
from state.turns import Caps
from state.usage import Usage
from state.vcpus import Family, RegionQuotas
from tests.fakes.jobs import NOW, a_job, a_source
from tests.fakes.platform import a_platform

HOUR = timedelta(hours=1)


def with_budget(amount: str) -> Platform:
    platform = a_platform()
    group = replace(platform.groups["lab1"], budget=Budget(amount=Decimal(amount)))
    return replace(platform, groups={**platform.groups, "lab1": group})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    for number in range(2):
        wanted = Reservation(job=a_job(number), source=a_source(number), bound=Decimal(1), cap=Decimal(10), since=None)
        made.admit_all([wanted], NOW)
    Gate(made.engine, lambda *_: None).open(Caps(instances=1), NOW)  # the second one waits
    made.advance(a_job().id, JobStatus.PROVISIONING, NOW)
    made.note_usage(a_job().id, [used(NOW)], ended=False)
    return made


def used(start: datetime, *, price: str = "1") -> Usage:
    return Usage(
        job=a_job().id,
        task=0,
        instance="i-1",
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal(price),
        start=start,
        end=start,
    )


def alerts(ledger: Ledger) -> list[str]:
    return [notice.text for notice in Notices(ledger.engine).fresh() if notice.kind == "budget"]


def test_running_costs_are_visible_at_any_time(ledger: Ledger) -> None:
    account = ledger.account("lab1", None, NOW + HOUR / 2)
    assert account.running == {a_job().id: Decimal("0.5")}
    assert (account.settled, account.spent, account.promised) == (Decimal(0), Decimal("0.5"), Decimal("1.5"))
    assert account.committed == ledger.committed("lab1", None) == 2
    ledger.conclude(a_job().id, Ending(status=JobStatus.DONE, reason=""), NOW)
    ledger.settle(a_job().id, NOW + HOUR / 4)
    account = ledger.account("lab1", None, NOW + HOUR)
    assert account.running == {}
    assert (account.settled, account.promised) == (Decimal("0.25"), Decimal(1))


def test_each_level_is_told_exactly_once_in_a_period(ledger: Ledger) -> None:
    platform = with_budget("10")
    for hours in (4, 5, 6, 8, 8.5):
        for _ in range(2):
            guard_budgets(ledger, platform, NOW + hours * HOUR)
    assert alerts(ledger) == [
        "lab1 has spent 5.00 USD, 50 % of its budget of 10.00 USD since 2026-11-01.",
        "lab1 has spent 8.00 USD, 80 % of its budget of 10.00 USD since 2026-11-01.",
    ]
    story = [line.text for line in ledger.story(a_job().id) if "budget" in line.text]
    assert len(story) == 2
    assert ledger.stop_request(a_job().id) is None


def test_at_the_cap_jobs_are_stopped_with_a_grace_period_and_waiting_ones_at_once(ledger: Ledger) -> None:
    platform, late = with_budget("2"), NOW + 2 * HOUR
    guard_budgets(ledger, platform, late)
    guard_budgets(ledger, platform, late + HOUR)
    running, waiting = ledger.stop_request(a_job().id), ledger.stop_request(a_job(1).id)
    assert running is not None
    assert waiting is not None
    assert (running.status, running.due) == (JobStatus.OVER_BUDGET, late + GRACE)
    assert "The budget of lab1, 2.00 USD, is used up" in running.reason
    assert waiting.due == late
    assert Gate(ledger.engine, lambda *_: None).open(Caps(instances=0), late) == [a_job(1).id]


def test_what_a_job_cost_already_cannot_be_promised_to_another(ledger: Ledger) -> None:
    guard_budgets(ledger, with_budget("10"), NOW + 3 * HOUR)
    assert ledger.job(a_job().id).bound == 3
    assert ledger.committed("lab1", None) == 4


def test_the_limits_are_those_of_the_files() -> None:
    platform = a_platform()
    limits = replace(platform.deployment.limits, instances=7, vcpus=64, group_instances=5)
    caps = caps_of(replace(platform, deployment=replace(platform.deployment, limits=limits)))
    assert caps == Caps(instances=7, vcpus=64, groups={"lab1": 5, "lab2": 5}, analyses={"pca": 3})
    vcpus = {"us-east-1": RegionQuotas(on_demand={Family.G: 8})}
    limits = replace(limits, vcpus=vcpus)
    assert caps_of(replace(platform, deployment=replace(platform.deployment, limits=limits))).vcpus == vcpus
