"""What is printed: plain text in a pipe, JSON that keeps cents, and no control characters of a user's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mayfly.cli import output
from state.job import Ending, JobStatus


def test_a_log_line_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("\x1b[2Jgone\x07 [red]not markup[/red] :smile:")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "[red]not markup[/red] :smile:" in printed


def test_a_table_in_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["job", "status"], [["pca-1", "x" * 300], ["pca-22", "done"]], empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["job     status", "pca-1   " + "x" * 300, "pca-22  done"]


def test_an_empty_table_says_so_without_spoiling_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["job"], [], empty="No jobs.")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "No jobs.\n"


def test_json_keeps_money_exact_and_times_aware(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 11, 22, 9, tzinfo=UTC)
    output.show_json({"cost": Decimal("0.0100"), "at": at, "ending": Ending(status=JobStatus.DONE, reason="é")})
    assert json.loads(capsys.readouterr().out) == {
        "cost": "0.0100",
        "at": "2026-11-22T09:00:00+00:00",
        "ending": {"status": "done", "reason": "é"},
    }


def test_what_json_has_no_form_for_is_a_bug() -> None:
    with pytest.raises(TypeError, match="object"):
        output.show_json(object())


def test_bars_show_shares() -> None:
    assert [line.split()[-1] for line in output.bars({"PC1": 0.75, "PC2": 0.25})] == ["75.0%", "25.0%"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3780, "1 h 03 min")]
)
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert output.duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3 * 10**12, "3.0 TB")])
def test_sizes_as_disks_are_sold(count: int, words: str) -> None:
    assert output.size(count) == words
