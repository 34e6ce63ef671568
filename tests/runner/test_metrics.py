from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from runner.cloud_values import Leftover, LeftoverKind
from runner.metrics import MetricsServer, render
from state.database import sqlite_url
from state.errors import StateError
from state.figures import read_figures
from state.inbox import Inbox
from state.job import Ending, JobStatus
from state.lease import Leases
from state.ledger import Ledger, open_ledger
from state.usage import Usage
from tests.fakes.jobs import NOW, a_job, a_source

LATER = NOW + timedelta(minutes=10)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    yield made
    made.engine.dispose()


def admit(ledger: Ledger, number: int) -> str:
    job = a_job(number)
    ledger.admit(job, source=a_source(number), bound=Decimal(2), cap=Decimal(99), since=None, at=NOW)
    return job.id


def run(ledger: Ledger, job: str) -> None:
    ledger.advance(job, JobStatus.PROVISIONING, NOW)
    one = Usage(
        job=job,
        task=0,
        instance=f"i-{job}",
        instance_type="m5.large",
        spot=False,
        hourly_price=Decimal("0.6"),
        start=NOW,
        end=NOW,
    )
    ledger.note_usage(job, [one], ended=False)


def scrape(ledger: Ledger, left: list[Leftover] | None = None) -> dict[str, float]:
    text = render(read_figures(ledger.engine, LATER), left)
    samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def test_jobs_are_counted_by_status_and_none_is_missing(ledger: Ledger) -> None:
    run(ledger, admit(ledger, 0))
    admit(ledger, 1)
    over = admit(ledger, 2)
    ledger.conclude(over, Ending(status=JobStatus.FAILED, reason="x"), NOW)
    ledger.settle(over, NOW)
    ledger.finish(over, NOW)
    found = scrape(ledger)
    assert {status for status in JobStatus if f'mayfly_jobs{{status="{status}"}}' in found} == set(JobStatus)
    counted = {status: found[f'mayfly_jobs{{status="{status}"}}'] for status in ("admitted", "provisioning", "failed")}
    assert counted == {"admitted": 1, "provisioning": 1, "failed": 1}
    assert found["mayfly_oldest_waiting_seconds"] == 600
    assert found["mayfly_running_cost_usd"] == pytest.approx(0.1)
    assert found["mayfly_promised_usd"] == 4


def test_what_should_wake_somebody_is_there(ledger: Ledger) -> None:
    job = admit(ledger, 0)
    run(ledger, job)
    ledger.set_deadline(job, NOW + timedelta(minutes=5))
    Inbox(ledger.engine).record(a_source(9), NOW)
    leases = Leases(ledger.engine)
    leases.beat("worker-1", LATER - timedelta(seconds=90))
    leases.beat("recover:worker-0", LATER)
    leases.beat(f"terraform/{job}/worker-0", LATER)
    leases.beat("worker-of-last-week", NOW - timedelta(days=7))
    left = [Leftover(kind=LeftoverKind.VOLUME, id="vol-1", job="x")]
    found = scrape(ledger, left)
    assert found["mayfly_jobs_overdue"] == 1
    assert found["mayfly_events_open"] == 1
    assert found["mayfly_oldest_event_seconds"] == 600
    assert found['mayfly_leftovers{kind="volume"}'] == 1
    assert found['mayfly_leftovers{kind="instance"}'] == 0
    beats = {name: value for name, value in found.items() if "worker_silence" in name}
    assert beats == {'mayfly_worker_silence_seconds{worker="worker-1"}': 90}


def test_a_cloud_that_is_away_says_nothing_about_leftovers(ledger: Ledger) -> None:
    found = scrape(ledger, None)
    assert found["mayfly_cloud_up"] == 0
    assert not [name for name in found if name.startswith("mayfly_leftovers")]


def test_the_text_is_what_prometheus_reads(ledger: Ledger) -> None:
    Leases(ledger.engine).beat('evil"\\\nname', LATER)
    for line in render(read_figures(ledger.engine, LATER), []).splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) mayfly_\w+ .+|mayfly_\w+(\{\w+="([^"\\\n]|\\["\\n])*"\})? (\+Inf|-?[0-9.e+-]+)', line
        ), line


def test_it_is_served_and_a_lost_ledger_is_not_a_traceback(ledger: Ledger) -> None:
    broken = threading.Event()

    def collect() -> str:
        if broken.is_set():
            raise StateError("gone")
        return render(read_figures(ledger.engine, LATER), [])

    with MetricsServer(("127.0.0.1", 0), collect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{base}/metrics") as answer:  # noqa: S310  (ours, on loopback)
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"mayfly_jobs" in answer.read()
        broken.set()
        for path, status in (("/metrics", 503), ("/secrets", 404)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(base + path)  # noqa: S310
            assert caught.value.code == status
            caught.value.close()
        server.shutdown()
        thread.join()
