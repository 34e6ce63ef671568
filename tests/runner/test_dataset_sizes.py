"""The size bounds of a blueprint's inputs."""

from __future__ import annotations

import pytest

from compiler.blueprint import Inputs
from runner.datasets import check_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "is empty (0 bytes)."),
        (1_999_999, "has 2 MB, but at least 2 MB are needed."),
        (500_000, "has 0.5 MB, but at least 2 MB are needed."),
        (2_000_000, ""),
        (3_000_000_000, ""),
        (3_000_000_001, "has 3.00 GB, but at most 3 GB are accepted."),
    ],
)
def test_a_dataset_is_held_to_both_bounds(size: int, expected: str) -> None:
    said = check_size("a.npy", size, Inputs(min_bytes=2_000_000, max_bytes=3_000_000_000))
    assert said.endswith(expected)
    assert bool(said) is bool(expected)
