"""vCPU quotas from an uploaded submit file to the gate."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from compiler.deployment import PlatformLimits
from compiler.model import Platform
from runner.gatekeeper import caps_of
from runner.waiting import explain
from state.chronicle import Attempt, Chronicle, Tried
from state.dispatch import Gate
from state.job import JobStatus
from state.vcpus import Family, RegionQuotas
from tests.fakes.platform import a_platform
from tests.fakes.scene import START
from tests.runner.test_watcher import Office


def limited(standard: int) -> Platform:
    platform = a_platform()
    limits = PlatformLimits(vcpus={"us-east-1": RegionQuotas(on_demand={Family.STANDARD: standard})})
    prices = {"us-east-1": {"m5.large": Decimal("0.07"), "m5.xlarge": Decimal("0.14")}}
    return replace(platform, deployment=replace(platform.deployment, limits=limits, prices=prices))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, limited(standard=6))


def test_a_submission_waits_for_its_quota_until_the_machines_of_another_are_known(office: Office) -> None:
    for stamp in ("t1", "t2"):
        office.submit(stamp)
    office.settle()
    gate = Gate(office.ledger.engine, lambda *_: None)
    [first] = gate.open(caps_of(office.platform), office.now)
    [second] = {record.id for record in office.ledger.jobs()} - {first}
    why = explain(office.ledger, office.ledger.job(second)).why
    assert why == "It waits for vCPUs: us-east-1, Standard on demand: 4 of 6 are in use, and it needs 4."
    offer = office.ledger.job(first).admitted.ways[0]
    assert (offer.instance_type, offer.hourly_price) == ("m5.large", Decimal("0.07"))
    got = Attempt(job=first, task=0, number=0, way=0, offer=offer, at=START, run=0, outcome=Tried.STARTED)
    Chronicle(office.ledger.engine).place([got])
    assert gate.open(caps_of(office.platform), office.now) == [second]


def test_what_can_never_fit_is_refused_and_nothing_is_reserved(tmp_path: Path) -> None:
    office = Office(tmp_path, limited(standard=1))
    office.submit("t1")
    office.settle()
    [record] = office.ledger.jobs()
    assert record.status is JobStatus.REJECTED
    assert record.ending is not None
    assert "2 vCPUs of us-east-1, Standard on demand, of which 1 are there" in record.ending.reason
    assert office.ledger.committed("lab1", None) == 0
