from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from runner.iae.ending import Ending
from runner.iae.halt import SystemClock
from runner.iae.manifest import parse_manifest
from runner.iae.report import Outcome, read_reason
from runner.iae.store import StoreError
from runner.iae.task import run_task
from tests.fakes.agent import ROOT, FakeStore, denied, raw_manifest, unreachable

STATUS = f"{ROOT}logs/DATASET_NAME:data.txt_STATUS.txt"
REPORT = f"{ROOT}logs/task-0.json"
LOG = f"{ROOT}logs/task-0.log"
RESULTS = f"{ROOT}process_results/"
DIGEST = "d" * 64

READ = "import json, os, sys, pathlib, time\nm = json.load(open(sys.argv[1]))\nout = pathlib.Path(m['results'])\n"


class Bench:
    """A machine with an image whose analysis is a script, and a store in memory."""

    def __init__(self, tmp_path: Path) -> None:
        self.image = tmp_path / "image"
        (self.image / "files").mkdir(parents=True)
        (self.image / "manifest.json").write_text(json.dumps({"digest": DIGEST}))
        self.work = tmp_path / "work"
        self.work.mkdir()
        self.store = FakeStore(objects={"lab/inputs/data.txt": b"1 2 3", "lab/configs/config.yaml": b"n: 3\n"})
        self.stop = threading.Event()

    def run(self, script: str, **changes: Any) -> Outcome:
        (self.image / "files/run.py").write_text(READ + script)
        raw = raw_manifest(self.image, [sys.executable, "files/run.py"], **changes)
        return run_task(
            parse_manifest(raw),
            store=self.store,
            clock=SystemClock(),
            stop=self.stop,
            environ={"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": "secret"},
            work=self.work,
            find_instance=lambda: "i-0123",
        )

    @property
    def status(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.store.objects[STATUS])
        return loaded

    @property
    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.store.objects[REPORT])
        return loaded

    @property
    def log(self) -> str:
        return self.store.objects[LOG].decode()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_task_from_data_to_report(bench: Bench) -> None:
    outcome = bench.run(
        "numbers = pathlib.Path(m['inputs'][0]).read_text().split()\n"
        "print('read', len(numbers), 'as', m['task'], m['parameters'], open(m['config']).read().strip())\n"
        "print('warning', file=sys.stderr)\n"
        "assert os.getcwd() == m['scratch'] and not [k for k in os.environ if k.startswith('AWS_')]\n"
        "(out / 'sum.txt').write_text(str(sum(map(int, numbers))))\n"
    )
    assert (outcome.ending, outcome.reason) == (Ending.SUCCEEDED, "")
    assert bench.store.objects[f"{RESULTS}sum.txt"] == b"6"
    assert "read 3 as 0 {'n': 3} n: 3" in bench.log
    assert bench.store.written[-1] == REPORT
    report = bench.report
    sums = {"sha256": hashlib.sha256(b"6").hexdigest(), "crc32": f"{zlib.crc32(b'6'):08x}"}
    assert report["outputs"] == [{"path": "sum.txt", "size": 1, **sums}]
    assert (report["status"], report["ending"], report["exit_status"]) == ("SUCCESS", "succeeded", 0)
    assert report["iae"] == DIGEST
    assert report["started"] <= report["ended"]
    assert report["started"].endswith("Z")
    status = bench.status
    assert (status["status"], status["phase"], status["instance"]) == ("SUCCESS", "done", "i-0123")
    assert status["stdout"] == {"1": "read 3 as 0 {'n': 3} n: 3"}
    assert status["stderr"] == {"1": "warning"}
    assert {"input", "command", "starttime", "endtime", "cpu_usage", "memory_usage", "updated"} <= set(status)


def test_the_status_says_what_is_going_on_and_log_lines_come_while_it_runs(bench: Bench) -> None:
    phases: list[tuple[str, str]] = []
    live = threading.Event()

    def watch(key: str) -> None:
        if key == STATUS:
            phases.append((bench.status["status"], bench.status["phase"]))
        elif "/live/" in key and b"first line" in bench.store.objects[key]:
            (bench.work / "scratch/go").touch()
            live.set()

    bench.store.on_write = watch
    bench.run("print('first line')\nwhile not os.path.exists('go'): time.sleep(0.01)\n(out / 'x').write_text('')")
    assert live.is_set()
    assert phases[0] == ("INITIALIZING", "downloading")
    assert ("IN PROGRESS", "running") in phases
    assert phases[-1] == ("SUCCESS", "done")
    chunks = sorted(key for key in bench.store.objects if "/live/" in key)
    assert chunks[0].endswith("/live/0/00000001.log")
    assert bench.log.startswith("".join(bench.store.objects[key].decode() for key in chunks))


def test_a_crash_is_told_with_its_last_words_and_keeps_what_was_computed(bench: Bench) -> None:
    bench.run("(out / 'half.txt').write_text('half')\nraise ValueError('no such electrode')")
    assert bench.report["ending"] == "failed"
    assert bench.report["exit_status"] == 1
    assert bench.report["reason"] == (
        "the analysis failed: it ended with exit status 1; its last words were: ValueError: no such electrode"
    )
    assert bench.report["stderr"][0] == "Traceback (most recent call last):"
    assert [output["path"] for output in bench.report["outputs"]] == ["half.txt"]
    assert bench.status["status"] == "FAILED"
    assert bench.status["reason"] == bench.report["reason"]


def test_a_reason_of_its_own_and_status_2_mean_bad_input(bench: Bench) -> None:
    bench.run("open(os.environ['MAYFLY_REASON'], 'w').write('The data holds NaN.\\n\\x1b[31m')\nsys.exit(2)")
    assert (bench.report["ending"], bench.report["reason"]) == ("bad_input", "The data holds NaN. [31m")


def test_a_reason_is_not_read_through_a_link(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    bench.run(f"os.symlink({str(secret)!r}, os.environ['MAYFLY_REASON'])\nsys.exit(2)")
    assert "password" not in json.dumps(bench.report)


def test_a_reason_that_is_a_pipe_or_a_folder_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_reason(tmp_path / "pipe") == ""
    assert read_reason(tmp_path) == ""
    assert read_reason(tmp_path / "missing") == ""


def test_a_task_that_never_ends(tmp_path: Path) -> None:
    for limit in (1, 5, 25):  # how long a Python takes to begin on a busy machine says nothing about the agent
        bench = Bench(tmp_path / str(limit))
        bench.run("print('working')\nwhile True: time.sleep(1)", time_limit_s=limit)
        assert bench.report["ending"] == "timed_out"
        assert f"time limit of {limit} seconds" in bench.report["reason"]
        if "working" in bench.log:
            break
    assert "working" in bench.log


def test_the_deadline_leaves_time_to_upload(bench: Bench) -> None:
    bench.run("(out / 'x').write_text('saved')\nwhile True: time.sleep(1)", seconds_left=25)
    assert bench.report["ending"] == "timed_out"
    assert [output["path"] for output in bench.report["outputs"]] == ["x"]


def test_missing_data_starts_nothing(bench: Bench) -> None:
    del bench.store.objects["lab/inputs/data.txt"]
    bench.run("print('never')")
    assert bench.report["ending"] == "bad_input"
    assert bench.report["exit_status"] is None
    assert "never" not in bench.log


def test_another_environment_than_the_jobs_is_refused(bench: Bench) -> None:
    bench.run("print('never')", iae="e" * 64)
    assert bench.report["ending"] == "environment_missing"
    assert "dddddddddddd" in bench.report["reason"]


def test_results_beyond_the_limit_are_not_uploaded(bench: Bench) -> None:
    bench.run("(out / 'big').write_bytes(b'x' * 2000)", result_limit_bytes=1999)
    assert bench.report["ending"] == "results_too_large"
    assert bench.report["status"] == "FAILED"
    assert not [key for key in bench.store.objects if key.startswith(RESULTS)]


def test_what_is_left_out_is_named_in_a_success(bench: Bench) -> None:
    bench.run("(out / 'ok').write_text('x')\nos.symlink('/etc/passwd', out / 'link')")
    assert bench.report["status"] == "SUCCESS"
    assert bench.report["refused"] == ["link (a link out of the results folder)"]
    assert "link" in bench.report["reason"]


def test_ten_megabytes_of_output(bench: Bench) -> None:
    bench.run("for n in range(100_000): print('x' * 99)\nprint('the end')", log_limit_bytes=50_000)
    assert bench.report["ending"] == "succeeded"
    assert len(bench.log) < 200_000
    assert "the log is full" in bench.log
    assert "the end" in bench.log
    assert bench.report["log_bytes_missing"] > 9_000_000


def test_a_store_that_stutters_changes_nothing(bench: Bench) -> None:
    luck = random.Random(1)  # noqa: S311 - the same bad luck each time

    def refuse(_: str, key: str) -> StoreError | None:
        return unreachable(key) if luck.random() < 0.3 else None

    bench.store.refuse = refuse
    outcome = bench.run("(out / 'x').write_text('1')")
    assert outcome.ending is Ending.SUCCEEDED
    assert bench.report["status"] == "SUCCESS"


def test_results_that_cannot_be_written_fail_the_task_but_not_the_report(bench: Bench) -> None:
    bench.store.refuse = lambda _, key: denied(key) if key.startswith(RESULTS) else None
    bench.run("(out / 'x').write_text('1')")
    assert bench.report["ending"] == "upload_failed"
    assert bench.status["status"] == "FAILED"


def test_a_log_that_cannot_be_written_does_not_cost_the_report(bench: Bench) -> None:
    bench.store.refuse = lambda _, key: denied(key) if key == LOG else None
    bench.run("(out / 'x').write_text('1')")
    assert bench.report["ending"] == "succeeded"


def test_a_machine_that_is_stopped_says_so(bench: Bench) -> None:
    bench.store.on_write = lambda key: (
        bench.stop.set() if "/live/" in key and b"started" in bench.store.objects[key] else None
    )
    bench.run("print('started')\ntime.sleep(60)")
    assert bench.report["ending"] == "stopped"
    assert bench.status["status"] == "FAILED"


def test_an_error_of_the_agent_itself_is_reported(bench: Bench) -> None:
    def break_down(verb: str, key: str) -> StoreError | None:
        if verb == "download":
            raise ZeroDivisionError(key)
        return None

    bench.store.refuse = break_down
    bench.run("print('never')")
    assert bench.report["ending"] == "internal"
    assert "ZeroDivisionError" in bench.report["reason"]
    assert "Traceback" in bench.log


def test_text_that_is_no_text_can_be_reported(bench: Bench) -> None:
    bench.run("sys.stderr.buffer.write(b'\\xff\\xfe \\x00 caf\\xc3\\xa9\\n')\nsys.exit(1)")
    assert "café" in bench.report["reason"]
