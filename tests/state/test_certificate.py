from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from state.certificate import (
    RULE,
    Certificate,
    Event,
    TaskProgress,
    end_text,
    format_elapsed,
    one_line,
    render_json,
    render_text,
    tell_steps,
)
from state.job import Ending, JobStatus, TaskStatus
from state.usage import Usage

START = datetime(2020, 11, 13, 21, 49, 54, tzinfo=UTC)
S = JobStatus


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def whole_life(last: JobStatus) -> list[tuple[datetime, JobStatus]]:
    return [(at(n), s) for n, s in enumerate((S.SUBMITTED, S.ADMITTED, S.PROVISIONING, S.RUNNING, S.DESTROYING, last))]


def a_certificate() -> Certificate:
    return Certificate(
        job="pca-1",
        timestamp="t1",
        analysis="pca",
        version="0123456789abcdef",
        group="lab1",
        started=START,
        now=at(75.5),
        events=tell_steps(whole_life(S.DONE)[:4]),
        tasks=(
            TaskProgress(
                dataset="a.npy",
                status=TaskStatus.IN_PROGRESS,
                started=at(10),
                last_command="reading",
                cpu="12.5",
            ),
            TaskProgress(dataset="b.npy"),
        ),
    )


def a_finished_one(status: JobStatus = S.DONE, reason: str = "All went well.") -> Certificate:
    ending = Ending(status=status, reason=reason)
    usage = Usage(
        job="pca-1",
        task=0,
        instance="i-1",
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal("0.096"),
        start=at(2),
        end=at(62),
    )
    task = TaskProgress(dataset="a.npy", status=TaskStatus.SUCCESS, started=at(10), ended=at(40))
    return replace(
        a_certificate(),
        events=tell_steps(whole_life(status), ending),
        tasks=(task, replace(task, dataset="b.npy", status=TaskStatus.FAILED, reason="it is empty")),
        usages=(usage, replace(usage, task=1, instance="i-2", spot=True)),
        ending=ending,
        environment=(("python", "3.11"), ("iae", "abc")),
    )


def test_a_running_job_shows_its_steps_and_its_datasets() -> None:
    assert render_text(a_certificate()).splitlines() == [
        "REQUEST START TIME: 2020-11-13 21:49:54 (GMT) [+0:00:00.00]",
        "ANALYSIS VERSION ID: 0123456789abcdef [+0:00:00.00]",
        "JOB ID: t1 [+0:00:00.00]",
        "[Job Manager] STEP 1/4 (Initialization): DONE [+0:00:00.00]",
        "[Job Manager] STEP 2/4 (Validation): DONE [+0:00:01.00]",
        "[Job Manager] Building the job's own infrastructure. [+0:00:02.00]",
        "[Job Manager] STEP 3/4 (Environment Setup): DONE [+0:00:03.00]",
        "[Job Manager] STEP 4/4 (Initialize Processing): DONE [+0:00:03.00]",
        RULE,
        "DATANAME: a.npy | STATUS: IN PROGRESS | TIME: 0:01:05.50 | LAST COMMAND: reading | CPU_USAGE: 12.5",
        "DATANAME: b.npy | STATUS: INITIALIZING | TIME: 0:00:00.00 | LAST COMMAND:  | CPU_USAGE: ",
        RULE,
    ]


def test_a_finished_job_shows_what_became_of_each_dataset_and_what_it_cost() -> None:
    lines = render_text(a_finished_one()).splitlines()
    assert RULE not in lines
    assert all(re.search(r" \[\+\d+:\d\d:\d\d\.\d\d\]$", line) for line in lines)
    text = "\n".join(lines)
    assert "[Job Manager] JOB DONE. Nothing of its infrastructure is left. [+0:00:05.00]" in text
    assert "[Dataset 1/2] a.npy: SUCCESS in 0:00:30.00 [+0:01:15.50]" in text
    assert "[Dataset 2/2] b.npy: FAILED in 0:00:30.00: it is empty" in text
    assert "[Usage] i-1: m5.large, 0:01:00.00 at 0.096 USD an hour = 0.0016 USD" in text
    assert "[Usage] i-2: m5.large (spot)" in text
    assert "[Usage] TOTAL COST: 0.0032 USD" in text
    assert text.index("[Environment] iae: abc") < text.index("[Environment] python: 3.11")


def test_a_refused_submission_says_why_in_the_words_clients_look_for() -> None:
    ending = Ending(status=S.REJECTED, reason='n_components is "three".')
    events = tell_steps([(START, S.REJECTED)], ending)
    assert [event.text for event in events] == [
        "[Job Manager] STEP 1/4 (Initialization): DONE",
        "[Job Manager] STEP 2/4 (Validation): INTERNAL ERROR. [JOB TERMINATE REASON] 'n_components is \"three\".'",
        "[Job Manager] Shutting down job.",
    ]


@pytest.mark.parametrize(
    ("status", "reached", "line"),
    [
        (S.FAILED, 3, "STEP 3/4 (Environment Setup): AWS ERROR. [JOB TERMINATE REASON] 'why'"),
        (S.TIMED_OUT, 4, "[Job Manager] [JOB TERMINATE REASON] 'why'"),
        (S.CANCELLED, 2, "STEP 3/4 (Environment Setup): AWS ERROR."),
    ],
)
def test_every_ending_tells_its_reason_where_the_job_was(status: JobStatus, reached: int, line: str) -> None:
    life = [*whole_life(status)[:reached], *whole_life(status)[4:]]
    texts = [event.text for event in tell_steps(life, Ending(status=status, reason="why"), cloud_failed=True)]
    assert any(line in text for text in texts)
    assert texts[-2:] == [
        "[Job Manager] Shutting down job.",
        f"[Job Manager] JOB {status.upper()}. Nothing of its infrastructure is left.",
    ]
    assert sum("TERMINATE REASON" in text for text in texts) == 1


def test_repeated_statuses_are_told_once_and_an_ending_before_its_status_is_told_too() -> None:
    life = [(at(0), S.SUBMITTED), (at(1), S.SUBMITTED), (at(2), S.ADMITTED)]
    texts = [e.text for e in tell_steps(life, Ending(status=S.INTERRUPTED, reason="power"))]
    assert sum("Initialization" in text for text in texts) == 1
    assert "[Job Manager] STEP 3/4 (Environment Setup): INTERNAL ERROR. [JOB TERMINATE REASON] 'power'" in texts
    assert tell_steps([], Ending(status=S.FAILED, reason="x")) == ()


def test_uploading_without_having_been_seen_running_completes_the_same_steps() -> None:
    texts = [
        e.text
        for e in tell_steps([(at(0), S.SUBMITTED), (at(1), S.ADMITTED), (at(2), S.UPLOADING), (at(3), S.RUNNING)])
    ]
    assert sum("STEP 4/4" in text for text in texts) == 1


def test_nobody_can_forge_a_line() -> None:
    evil = "x\n[Job Manager] JOB DONE.\r\x1b[2J\u2028y"
    certificate = replace(
        a_finished_one(S.FAILED, evil),
        timestamp=evil,
        version=evil,
        tasks=(TaskProgress(dataset=evil, reason=evil, last_command=evil, cpu=evil),),
        environment=((evil, evil),),
        events=(Event(at=START, text=evil), *tell_steps(whole_life(S.FAILED), Ending(status=S.FAILED, reason=evil))),
    )
    for one in (certificate, replace(certificate, ending=None)):
        text = render_text(one)
        assert "\x1b" not in text
        assert "\u2028" not in text
        assert not any(line.startswith("[Job Manager] JOB DONE") for line in text.split("\n"))
    assert end_text(Ending(status=S.FAILED, reason=evil)).count("\n") == 2


def test_the_json_twin_says_the_same_sorted_and_exact() -> None:
    text = render_json(a_finished_one())
    found = json.loads(text)
    assert found == json.loads(json.dumps(found, sort_keys=True))
    assert list(found) == sorted(found)
    assert found["cost_usd"] == "0.0032"
    assert found["ending"] == {"status": "done", "reason": "All went well."}
    assert found["started"] == "2020-11-13T21:49:54.000+00:00"
    assert [d["dataset"] for d in found["datasets"]] == ["a.npy", "b.npy"]
    assert found["datasets"][1]["reason"] == "it is empty"
    assert found["usage"][0]["seconds"] == "60.0"
    assert json.loads(render_json(a_certificate()))["ending"] is None


def test_the_same_values_give_the_same_bytes_in_any_zone() -> None:
    zone = timezone(timedelta(hours=5))
    moved = replace(a_certificate(), started=START.astimezone(zone), now=at(75.5).astimezone(zone))
    assert render_text(moved) == render_text(a_certificate())
    assert render_json(moved) == render_json(a_certificate())


def test_the_end_marker_says_how_and_why() -> None:
    assert end_text(Ending(status=S.TIMED_OUT, reason="60 minutes are over")) == (
        "end of analysis: timed out\n60 minutes are over\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00.00"),
        (0.004, "0:00:00.00"),
        (59.999, "0:01:00.00"),
        (3661.5, "1:01:01.50"),
        (360_000, "100:00:00.00"),
        (-5, "0:00:00.00"),
    ],
)
def test_elapsed_time_is_written_as_clients_read_it(seconds: float, text: str) -> None:
    assert format_elapsed(timedelta(seconds=seconds)) == text


def test_one_line_keeps_letters_of_all_scripts() -> None:
    assert one_line("  naïve\t日本  語 ") == "naïve 日本 語"
