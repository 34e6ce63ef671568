"""docs/guarantees.md names tests: each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| guarantee")]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
COMPLAINTS = (
    "coder#4586",
    "coder#10318",
    "#509",
    "#779",
    "#4410",
    "#2231",
    "#5215",
    "#800",
    "#2766",
    "#43193",
    "#5105",
)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_behind_a_guarantee_exists(file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(|^{name} = |^class {name}\b", source, re.MULTILINE), f"{file}::{name}"


def test_every_guarantee_names_a_test() -> None:
    assert len(ROWS) > 20
    assert [row for row in ROWS if "`tests/" not in row] == []


def test_every_frequent_complaint_is_answered() -> None:
    said = PAGE.replace("coder#4586 #10318", "coder#4586 coder#10318")
    assert [one for one in COMPLAINTS if one not in said] == []
