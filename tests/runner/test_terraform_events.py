"""Terraform's lines as values, and its failures as sentences."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events import Changes, Diagnostic, EventKind, parse_event
from runner.failures import explain_failure
from runner.process import Finished

RESOURCE = {"addr": 'module.job.aws_instance.task["0"]', "resource_type": "aws_instance"}


def line(kind: str, message: str = "words", **parts: object) -> str:
    return json.dumps({"@message": message, "@timestamp": "2026-11-22T11:42:29.081742Z", "type": kind, **parts})


def ended(code: int = 1, **how: bool) -> Finished:
    flags = {"interrupted": False, "timed_out": False, "killed": False, **how}
    return Finished(code=code, seconds=1.0, **flags)


def test_an_apply_is_followed_resource_by_resource() -> None:
    hook = {"resource": RESOURCE, "action": "create", "id_value": "i-1", "elapsed_seconds": 12}
    event = parse_event(line("apply_complete", hook=hook))
    assert event is not None
    assert event.kind is EventKind.APPLY_COMPLETE
    assert (event.address, event.action, event.resource_id) == (RESOURCE["addr"], "create", "i-1")
    assert event.seconds == 12
    assert event.time == datetime(2026, 11, 22, 11, 42, 29, 81742, tzinfo=UTC)


def test_plan_summary_and_outputs_are_read() -> None:
    planned = parse_event(line("planned_change", change={"resource": RESOURCE, "action": "create"}))
    summary = parse_event(line("change_summary", changes={"add": 3, "change": 1, "remove": 2, "operation": "plan"}))
    outputs = parse_event(
        line("outputs", outputs={"a": {"sensitive": False, "value": [1]}, "b": {"sensitive": True, "type": "string"}})
    )
    assert planned is not None
    assert (planned.kind, planned.action) == (EventKind.PLANNED, "create")
    assert summary is not None
    assert summary.changes == Changes(operation="plan", add=3, change=1, destroy=2)
    assert outputs is not None
    assert outputs.outputs == {"a": [1], "b": None}


def test_a_diagnostic_says_what_and_where_in_one_line() -> None:
    said = {
        "severity": "error",
        "summary": "creating EC2 Instance",
        "detail": "InsufficientInstanceCapacity:\nno p3.2xlarge here",
        "address": "aws_instance.task",
        "range": {"filename": "module/main.tf", "start": {"line": 50}},
    }
    event = parse_event(line("diagnostic", diagnostic=said))
    assert event is not None
    assert event.diagnostic is not None
    assert str(event.diagnostic) == (
        "creating EC2 Instance: InsufficientInstanceCapacity: no p3.2xlarge here (aws_instance.task, module/main.tf:50)"
    )


@pytest.mark.parametrize("text", ["", "panic: oh", "{", "[]", '{"no": "message"}', "null", '{"@message"'])
def test_other_lines_are_no_events(text: str) -> None:
    assert parse_event(text) is None


@given(st.text())
def test_no_line_breaks_the_reader(text: str) -> None:
    parse_event("{" + text)
    parse_event(text)


def test_an_unknown_type_is_a_log_line() -> None:
    event = parse_event(line("something_new", message=" hello "))
    assert event is not None
    assert (event.kind, event.message) == (EventKind.LOG, "hello")


LOCKED = Diagnostic(
    severity="error",
    summary="Error acquiring the state lock",
    detail="resource temporarily unavailable\nLock Info:\n  ID:        abc\n  Who:       me@host\n"
    "  Created:   2026-11-22 11:00:00 UTC\n",
)


@pytest.mark.parametrize(
    ("finished", "summary", "said", "words"),
    [
        (ended(), "Missing resource", (), ["failed: Missing resource"]),
        (ended(), "", ("Error: something", "else"), ["failed: Error: something else"]),
        (ended(11), "", (), ["exit status 11"]),
        (ended(-9), "", (), ["killed by signal 9", "sweep by tag"]),
        (ended(interrupted=True), "execution halted", (), ["stopped as asked", "Destroy"]),
        (ended(timed_out=True), "execution halted", (), ["took too long"]),
        (ended(-9, interrupted=True, killed=True), "", (), ["did not end within its grace", "sweep by tag"]),
        (ended(), "write terraform.tfstate: no space left on device", (), ["disk is full", "Free some space"]),
        (ended(-25), "", ("write: no space left on device",), ["disk is full"]),
        (ended(), "Plugin did not respond", (), ["provider crashed", "Run it again"]),
        (ended(), "", ("panic: runtime error",), ["provider crashed"]),
        (ended(), "Error refreshing state: unexpected end of JSON input", (), ["cannot be read", "tfstate.backup"]),
    ],
)
def test_every_failure_says_what_it_was_and_the_way_out(
    finished: Finished, summary: str, said: tuple[str, ...], words: list[str]
) -> None:
    diagnostics = [Diagnostic(severity="error", summary=summary)] if summary else []
    text = explain_failure("apply", Path("/jobs/j1"), finished, diagnostics, said)
    assert text.startswith("/jobs/j1: terraform apply ")
    for word in words:
        assert word in text


def test_a_locked_state_names_the_holder_and_how_to_unlock() -> None:
    text = explain_failure("destroy", Path("/jobs/j1"), ended(), [LOCKED], ())
    assert "me@host" in text
    assert "2026-11-22 11:00:00" in text
    assert "force-unlock abc" in text


def test_a_long_story_is_cut_in_the_message() -> None:
    text = explain_failure("apply", Path("/r"), ended(), [Diagnostic(severity="error", summary="word " * 500)], ())
    assert len(text) < 500
    assert text.endswith("…")
