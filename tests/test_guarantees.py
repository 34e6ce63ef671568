"""docs/guarantees.md names tests: each of them exists. Every promise of the job manager has a row there."""

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
    "#3802",
    "#4391",
)
PROMISES = {
    "from event to decision": (
        "deleted only after",
        "found by a listing",
        "dead-letter queue",
        "fairly between groups",
        "stops gracefully",
        "rule of the contract",
        "field by field",
        "`__duration__`",
        "vCPU quota",
        "cost more than its blueprint",
        "both schemes",
        "Storage of one's own",
        "refused",
        "budget for 7",
        "One settled record per machine",
        "Running costs",
        "alert level",
        "save what they have",
        "what it waits for",
    ),
    "the life of a job": (
        "taken over",
        "ways to get a machine",
        "with its price",
        "Partial capacity",
        "share one pace",
        "checkpoint",
        "requeued",
        "Live logs",
        "a cap cut",
        "Gauges",
        "diagnosed",
        "console",
        "ending of its own",
        "finished task's machine",
        "stops the others",
        "`mayfly retry --failed`",
        "Partial results",
        "`keep_failed`",
        "size and checksum",
        "retried from the machine's disk",
        "Ed25519",
        "never sent twice",
        "by its hash",
        "ordinary user",
        "bare Python",
        "deadman",
        "Cancelling",
    ),
    "nets": (
        "sweep by tag",
        "lease of its holder",
        "looked twice",
        "Exempt",
        "dry run",
        "hard caps",
        "workspaces and locks",
        "`mayfly abandon`",
        "Reconciliation",
    ),
    "proof": ("any commit, effect or step", "PostgreSQL itself crashes", "An agent that dies", "Every call", "boto3"),
}


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


@pytest.mark.parametrize("promise", [one for kind in PROMISES.values() for one in kind])
def test_every_promise_has_a_row(promise: str) -> None:
    assert [row for row in ROWS if promise in row.split("|")[1]], promise
