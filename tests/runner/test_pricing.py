from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from runner.pricing import OVERHEAD_S, PROVISIONING, WRAP_UP, bound, format_money, hourly_price, settle, work_cost
from state.errors import UsageError
from state.usage import Usage
from tests.fakes.platform import a_platform

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def used(seconds: float, price: str = "0.096") -> Usage:
    return Usage(
        job="pca-1",
        task=0,
        instance="i-1",
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal(price),
        start=START,
        end=START + timedelta(seconds=seconds),
    )


def test_prices_are_those_of_the_deployment_and_its_region() -> None:
    deployment = a_platform().deployment
    assert hourly_price(deployment, "m5.large") == Decimal("0.096")
    assert hourly_price(deployment, "m5.large", "eu-west-1") == Decimal("0.192")
    own = replace(deployment, prices={"eu-west-1": {"m5.large": Decimal("0.107")}})
    assert hourly_price(own, "m5.large", "eu-west-1") == Decimal("0.107")
    with pytest.raises(UsageError, match=r"z9\.huge"):
        hourly_price(deployment, "z9.huge")
    with pytest.raises(UsageError, match=r"No price of u7i-12tb\.224xlarge is known.*Say `prices: {us-east-1: {u7i"):
        hourly_price(deployment, "u7i-12tb.224xlarge")


def test_a_bound_is_price_times_time_times_machines() -> None:
    assert work_cost(hourly=Decimal("3.06"), duration_s=5400, tasks=70) == Decimal("321.3000")
    assert work_cost(hourly=Decimal("0.096"), duration_s=0, tasks=1) == 0
    assert bound(hourly=Decimal("3.06"), duration_s=5400, tasks=70) == Decimal("428.4000")  # and half an hour


def test_a_bound_covers_a_machine_until_its_deadline() -> None:
    assert timedelta(seconds=OVERHEAD_S) == PROVISIONING + WRAP_UP


def test_what_was_used_is_summed_in_decimals() -> None:
    assert settle([]) == 0
    assert settle([used(3600)] * 10) == Decimal("0.9600")
    assert settle([used(90_000)]) == Decimal("2.4000")  # 25 hours are not billed as one


def test_no_bound_is_ever_below_what_the_same_time_costs() -> None:
    for seconds in (1, 59, 3599, 86_400):
        assert bound(hourly=Decimal("0.096"), duration_s=seconds, tasks=1) >= settle([used(seconds)])


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00 USD"),
        ("0.00213", "0.0021 USD"),
        ("0.9999", "0.9999 USD"),
        ("1", "1.00 USD"),
        ("12.345", "12.35 USD"),
        ("1234567.8", "1,234,567.80 USD"),
        ("-0.5", "-0.5000 USD"),
    ],
)
def test_money_is_written_for_people(amount: str, text: str) -> None:
    assert format_money(Decimal(amount)) == text
