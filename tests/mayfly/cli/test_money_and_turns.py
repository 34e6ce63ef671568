from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from mayfly.cli.main import run
from runner.waiting import explain
from state.database import sqlite_url
from state.dispatch import Gate
from state.inbox import Inbox, Letter
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from state.reservation import Reservation
from state.turns import Caps
from state.usage import Usage
from state.vcpus import Family, Need, RegionQuotas
from tests.fakes.jobs import NOW, a_job, a_source

Told = Callable[..., str]
PCA = """
id: pca
title: Principal components
stage: draft
environment: {recipe: environment, entry_point: run.py}
resources: [{instance_type: m5.large}]
limits: {duration: 10, max_duration: 120, instances: 20, cost: 5}
inputs: {suffixes: [.npy]}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / "mayfly.yaml").write_text('name: trial\naccount: "123456789012"\nregion: us-east-1\n')
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "lab1.yaml").write_text("id: lab1\ntitle: One\nbudget: {amount: 20, period: total}\n")
    (tmp_path / ".mayfly" / "main").mkdir(parents=True)
    made = open_ledger(sqlite_url(tmp_path / ".mayfly" / "main" / "ledger.db"))
    for number in range(3):
        wanted = Reservation(job=a_job(number), source=a_source(number), bound=Decimal(3), cap=Decimal(20), since=None)
        made.admit_all([wanted], NOW)
    Gate(made.engine, lambda *_: None).open(Caps(instances=1), NOW)
    return made


@pytest.fixture
def told(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    assert ledger.jobs()

    def tell(*arguments: str) -> str:
        assert run(["--project", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out

    return tell


def begin(ledger: Ledger) -> None:
    start = datetime.now(UTC) - timedelta(hours=100)  # at a price that is no cent more for a while
    ledger.advance(a_job().id, JobStatus.PROVISIONING, NOW)
    used = Usage(
        job=a_job().id,
        task=0,
        instance="i-1",
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal("0.015"),
        start=start,
        end=start,
    )
    ledger.note_usage(a_job().id, [used], ended=False)


def test_why_names_the_limit_the_place_in_line_and_what_comes_next(told: Told) -> None:
    said = told("jobs", "why", a_job(1).id)
    assert "the limit of the platform: 1 of 1 instances are in use, and it needs 1" in said
    assert "next of its group" in said
    assert "its workspace is written" in said
    said = told("jobs", "why", a_job(2).id)
    assert f"job {a_job(1).id} of its group" in said
    assert "1 of its group before it, 2 of all groups wait" in said
    assert "waits for a free worker" in told("jobs", "why", a_job(0).id)
    assert json.loads(told("jobs", "why", a_job(2).id, "--json"))["ahead"] == 1


def test_why_names_the_quota(ledger: Ledger, told: Told) -> None:
    for number, vcpus in ((7, 60), (8, 8)):
        needs = (Need(family=Family.G, spot=False, vcpus=vcpus),)
        wanted = Reservation(
            job=a_job(number, group="lab2"),
            source=a_source(number),
            bound=Decimal(3),
            cap=Decimal(20),
            since=None,
            needs=needs,
        )
        ledger.admit_all([wanted], NOW)
    Gate(ledger.engine, lambda *_: None).open(
        Caps(vcpus={"us-east-1": RegionQuotas(on_demand={Family.G: 64})}, groups={"lab1": 1}), NOW
    )
    said = " ".join(told("jobs", "why", a_job(8).id).split())
    assert "waits for vCPUs: us-east-1, G and VT on demand: 60 of 64 are in use, and it needs 8." in said


def test_why_follows_a_job_to_its_end(ledger: Ledger) -> None:
    job = a_job().id

    def why() -> str:
        return explain(ledger, ledger.job(job)).why

    begin(ledger)
    ledger.set_waiting(job, "capacity of m5.large in us-east-1a")
    assert why() == "It waits for capacity of m5.large in us-east-1a."
    ledger.advance(job, JobStatus.RUNNING, NOW)
    assert why() == "It does not wait: it is running."
    ledger.request_stop(job, Ending(status=JobStatus.OVER_BUDGET, reason="too dear"), NOW, grace=timedelta(minutes=5))
    assert why() == "It is to be stopped by 12:05:00 UTC (too dear)."
    ledger.conclude(job, Ending(status=JobStatus.OVER_BUDGET, reason="too dear"), NOW)
    ledger.finish(job, NOW)
    assert why() == "too dear"
    ledger.request_cancel(a_job(1).id, "no more", NOW)
    assert explain(ledger, ledger.job(a_job(1).id)).then == "it ends without any machine"


def test_running_costs_and_budgets_are_visible_at_any_time(ledger: Ledger, told: Told) -> None:
    begin(ledger)
    found = {one["job"]: one for one in json.loads(told("jobs", "--costs", "--json"))}
    assert 1.5 <= float(found[a_job().id]["cost_usd"]) < 1.6
    assert "1.50 USD" in told("jobs", "--costs")
    account = json.loads(told("budget", "lab1", "--json"))
    assert 1.5 <= float(account["running_usd"]) < 1.6
    assert 10.9 < float(account["free_usd"]) <= 11
    assert "20.00 USD" in told("budget")


def test_an_unknown_group_is_named(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger.jobs()
    assert run(["--project", str(tmp_path), "budget", "lab9"]) == 2
    assert "There is no group lab9. These are known: lab1." in capsys.readouterr().err


def test_everything_that_was_refused_is_listed_with_its_reason(ledger: Ledger, told: Told) -> None:
    assert not told("jobs", "--rejected")
    inbox = Inbox(ledger.engine)
    inbox.keep_letter(Letter(id="m-1", seen=NOW, attempts=2, reason="it is not JSON", body="junk"))
    inbox.record_all([a_source(7), a_source(8)], NOW)
    inbox.close(a_source(8), NOW, "nothing was cancelled: it is over")
    ledger.reject(
        "pca-x",
        source=a_source(7),
        group="lab1",
        analysis="pca",
        results=a_job(7).results,
        reason="no such file",
        at=NOW,
    )
    said = told("jobs", "--rejected")
    for words in ("it is not JSON (delivered 2 times): 'junk'", "nothing was cancelled: it is over", "no such file"):
        assert words in said
    assert "junk" not in told("jobs", "--rejected", "--group", "lab1")
    assert json.loads(told("jobs", "--rejected", "--json"))[0]["kind"] in {"job", "file", "message"}


def test_extending_says_what_it_grants_and_reserves(ledger: Ledger, told: Told, tmp_path: Path) -> None:
    analysis = tmp_path / "blueprints" / "pca"
    analysis.mkdir(parents=True)
    (analysis / "blueprint.yaml").write_text(PCA)
    job = a_job().id
    before = ledger.job(job).bound
    assert "would run 70 minutes in all" in told("extend", job, "10", "--dry-run")
    assert ledger.job(job).bound == before
    said = told("extend", job, "10")
    assert "may now run 70 minutes in all" in said
    assert "1 dataset at work; at most 0.0160 USD more are reserved" in said
    answer = json.loads(told("extend", job, "10", "--json"))
    assert (answer["granted"], answer["extra_s"], answer["limit_s"]) == (True, 600, 4800)
    assert ledger.job(job).extra_s == 1200
    assert run(["--project", str(tmp_path), "extend", job, "500"]) == 7
