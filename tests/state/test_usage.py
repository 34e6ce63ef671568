from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.usage import CENT, Usage, cost

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def used(seconds: float, price: str = "3.06") -> Usage:
    return Usage(
        job="pca-1",
        task=0,
        instance="i-1",
        instance_type="p3.2xlarge",
        spot=False,
        hourly_price=Decimal(price),
        start=START,
        end=START + timedelta(seconds=seconds),
    )


@pytest.mark.parametrize(
    ("seconds", "price", "dollars"),
    [
        (3600, "3.06", "3.0600"),
        (90_000, "3.06", "76.5000"),
        (1, "0.0104", "0.0000"),
        (0, "3.06", "0"),
        (-30, "3.06", "0"),
        (0.5, "3.06", "0.0004"),
        (1.5, "0.12", "0.0001"),
    ],
)
def test_use_costs_its_time_and_never_less_than_nothing(seconds: float, price: str, dollars: str) -> None:
    assert used(seconds, price).cost == Decimal(dollars)


def test_cost_is_exact_where_floats_are_not() -> None:
    assert cost(Decimal("0.1"), 3600, 3) == Decimal("0.3000")
    assert cost(Decimal("0.1"), 3600, 3).as_tuple().exponent == CENT.as_tuple().exponent


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 100))
def test_more_time_and_more_machines_never_cost_less(seconds: int, more: int, count: int) -> None:
    price = Decimal("0.096")
    assert cost(price, seconds + more, count) >= cost(price, seconds, count)
    assert cost(price, seconds, count + 1) >= cost(price, seconds, count)
