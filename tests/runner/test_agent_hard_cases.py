"""Entry points that behave badly, and machines that go: what each leaves behind is said, and nothing hangs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.iae.ending import Ending
from runner.iae.gauge import Gauge, read_gpus
from runner.iae.halt import SystemClock
from runner.iae.manifest import parse_manifest
from runner.iae.outlook import HEARD, Outlook, read_spot_action
from runner.iae.report import Outcome
from runner.iae.task import run_task
from tests.fakes.agent import ROOT, FakeStore, JumpingClock, raw_manifest, unreachable

PROJECT = Path(__file__).resolve().parents[2]
DIGEST = "d" * 64
REPORT, LOG, RESULTS = f"{ROOT}logs/task-0.json", f"{ROOT}logs/task-0.log", f"{ROOT}process_results/"
STATUS = f"{ROOT}logs/DATASET_NAME:data.txt_STATUS.txt"
PLATFORM, CHECKPOINT = f"{ROOT}logs/platform.json", f"{ROOT}logs/checkpoint/0/"
READ = (
    "import json, os, signal, sys, pathlib, time\nm = json.load(open(sys.argv[1]))\nout = pathlib.Path(m['results'])\n"
)
SAVES = """
saved = pathlib.Path(m['checkpoint']) / 'step.txt'
step = int(saved.read_text()) if saved.exists() else 0
def save(*_):
    saved.write_text(str(step + 1))
    sys.exit(3)
signal.signal(signal.SIGUSR1, save)
if m['run'] == 0:
    (out / 'half.txt').write_text('half')
    print('working', flush=True)
    time.sleep(60)
(out / 'whole.txt').write_text(f'went on from {step}')
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, FakeStore()
        self.store.objects |= {"lab/inputs/data.txt": b"1 2 3", "lab/configs/config.yaml": b"n: 3\n"}
        self.stop = threading.Event()
        (folder / "image" / "files").mkdir(parents=True)
        (folder / "image" / "manifest.json").write_text(json.dumps({"digest": DIGEST}))

    def run(self, script: str, *, metadata: Callable[[str], str] = lambda _: "", **changes: Any) -> Outcome:
        image, work = self.folder / "image", self.folder / f"work-{changes.get('run', 0)}"
        (image / "files" / "run.py").write_text(READ + script)
        work.mkdir()
        raw = raw_manifest(image, [sys.executable, "files/run.py"], platform=PLATFORM, checkpoint=CHECKPOINT, **changes)
        return run_task(
            parse_manifest(raw),
            store=self.store,
            clock=SystemClock(),
            stop=self.stop,
            environ={},
            work=work,
            find_instance=lambda: "i-1",
            ask_metadata=metadata,
        )

    @property
    def report(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.store.objects[REPORT])
        return loaded

    @property
    def is_at_work(self) -> bool:
        status = json.loads(self.store.objects.get(STATUS, b"{}"))
        return status.get("phase") == "running" and bool(status["stdout"])

    @property
    def log(self) -> bytes:
        return self.store.objects[LOG]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def taken_back(machine: Machine, seconds: float) -> Callable[[str], str]:
    """AWS gives notice as soon as the analysis has said something."""

    def answer(path: str) -> str:
        if path != "spot/instance-action" or not machine.is_at_work:
            return ""
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        return json.dumps({"action": "terminate", "time": until})

    return answer


# Machines that go


def test_a_spot_machine_lets_the_analysis_save_and_the_next_run_goes_on_from_there(machine: Machine) -> None:
    first = machine.run(SAVES, metadata=taken_back(machine, 120))
    assert first.ending is Ending.INTERRUPTED
    assert machine.store.objects[f"{CHECKPOINT}step.txt"] == b"1"
    assert machine.store.objects[f"{RESULTS}half.txt"] == b"half"  # partial results are kept
    assert machine.report["run"] == 0
    second = machine.run(SAVES, run=1)
    assert second.ending is Ending.SUCCEEDED
    assert machine.store.objects[f"{RESULTS}whole.txt"] == b"went on from 1"
    assert machine.report["run"] == 1


def test_an_analysis_that_does_not_listen_works_on_until_its_time_is_over(machine: Machine) -> None:
    script = "(out / 'a.txt').write_text('a')\nprint('x', flush=True)\ntime.sleep(60)"
    outcome = machine.run(script, metadata=taken_back(machine, 41))  # one second, and 40 for uploading
    assert outcome.ending is Ending.INTERRUPTED
    assert outcome.exit is not None
    assert outcome.exit.seconds > 0.5
    assert machine.store.objects[f"{RESULTS}a.txt"] == b"a"


def test_an_analysis_that_is_done_before_its_machine_goes_has_succeeded(machine: Machine) -> None:
    script = "(out / 'a.txt').write_text('a')\nprint('working', flush=True)\ntime.sleep(1)"
    assert machine.run(script, metadata=taken_back(machine, 120)).ending is Ending.SUCCEEDED


def test_the_platform_may_ask_a_machine_to_save_and_stop(machine: Machine) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    said = {"written": "1", "stop": {"status": "over budget", "reason": "the budget is spent", "due": due}}

    def say_when_at_work(key: str) -> None:
        if key == STATUS and machine.is_at_work:
            machine.store.objects[PLATFORM] = json.dumps(said).encode()

    machine.store.on_write = say_when_at_work
    outcome = machine.run(SAVES)
    assert (outcome.ending, outcome.reason) == (Ending.STOPPED, "the budget is spent")
    assert machine.store.objects[f"{RESULTS}half.txt"] == b"half"


def test_a_platform_that_is_silent_for_long_ends_the_machine_and_results_are_saved_before(tmp_path: Path) -> None:
    clock, store = JumpingClock(), FakeStore()
    heard = tmp_path / HEARD
    manifest = parse_manifest(raw_manifest(tmp_path, ["x"], platform=PLATFORM, silence_s=3600))
    outlook = Outlook(manifest=manifest, store=store, clock=clock, ask_metadata=lambda _: "", timer=tmp_path)

    def look_for(seconds: float) -> None:
        clock.seconds += seconds
        for _ in range(3):
            outlook.look()

    store.objects[PLATFORM] = b'{"written": "1", "stop": null}'
    look_for(0)
    assert int(heard.read_text()) > 0
    store.refuse = lambda verb, key: unreachable(key) if verb == "read" else None
    look_for(3000)
    assert outlook.notice is None
    store.refuse = lambda verb, key: None  # noqa: ARG005
    store.objects[PLATFORM] = b'{"written": "2", "stop": null}'
    look_for(400)
    assert outlook.notice is None
    look_for(3400)  # the object is still there, and says nothing new
    look_for(200)
    assert outlook.notice is not None
    assert outlook.notice.ending is Ending.STOPPED
    assert "no sign of life for 60 minutes" in outlook.notice.reason


@pytest.mark.parametrize("text", ["", "404", "[]", "{", '{"action": "none"}', "null"])
def test_what_is_no_notice_is_none(text: str) -> None:
    assert read_spot_action(text, datetime.now(UTC)) is None


def test_a_machine_whose_task_failed_is_held_inside_its_time(machine: Machine) -> None:
    def stop_soon(key: str) -> None:
        if key == REPORT:
            threading.Timer(0.2, machine.stop.set).start()

    machine.store.on_write = stop_soon
    machine.run("sys.exit('bad')", keep_failed_s=1800, time_limit_s=600, seconds_left=3600)
    held, started = (datetime.fromisoformat(machine.report[name]) for name in ("held_until", "started"))
    assert held - started == timedelta(seconds=600)  # not 1800: what was paid for is over then


def test_a_machine_whose_task_succeeded_is_not_held(machine: Machine) -> None:
    machine.run("pass", keep_failed_s=1800)
    assert machine.report["held_until"] == ""


# Entry points that behave badly


def test_a_gigabyte_of_output_is_cut_and_said(machine: Machine) -> None:
    script = "block = b'x' * 99 + b'\\n'\nblock *= 41944\nfor _ in range(256): os.write(1, block)\nprint('the end')"
    assert machine.run(script, log_limit_bytes=100_000).ending is Ending.SUCCEEDED
    assert len(machine.log) < 200_000
    assert b"the log is full (100000 bytes)" in machine.log
    assert b"bytes are missing here" in machine.log
    assert b"the end" in machine.log


def test_binary_output_is_only_output(machine: Machine) -> None:
    script = "os.write(1, bytes(range(256)) * 100)\nos.write(2, b'\\xff\\xfe\\x00' * 1000)\nsys.exit(1)"
    assert machine.run(script).ending is Ending.FAILED
    json.loads(machine.store.objects[REPORT])
    assert bytes(range(128, 256)) in machine.log


def test_a_daemon_that_is_left_behind_is_ended(machine: Machine) -> None:
    script = (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)\n"
        "(out / 'a.txt').write_text('a')"
    )
    assert machine.run(script).ending is Ending.SUCCEEDED
    assert f"{RESULTS}a.txt" in machine.store.objects


def test_ignoring_the_request_to_end_does_not_help(machine: Machine) -> None:
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    outcome = machine.run(script, time_limit_s=1)
    assert outcome.ending is Ending.TIMED_OUT
    assert outcome.exit is not None
    assert outcome.exit.signal in {signal.SIGTERM, signal.SIGKILL}  # it did not end by itself
    assert outcome.exit.seconds < 60


def test_no_result_is_a_success_without_files(machine: Machine) -> None:
    assert machine.run("pass").ending is Ending.SUCCEEDED
    assert machine.report["outputs"] == []


@pytest.mark.slow
def test_fifty_thousand_files_are_all_uploaded_and_listed(machine: Machine) -> None:
    script = "for n in range(50_000): (out / f'{n:05d}').touch()"
    assert machine.run(script).ending is Ending.SUCCEEDED
    assert len(machine.report["outputs"]) == 50_000
    assert f"{RESULTS}49999" in machine.store.objects


def test_links_out_of_the_results_are_refused_and_named(machine: Machine) -> None:
    script = "(out / 'shadow').symlink_to('/etc/passwd')\n(out / 'all').symlink_to('/')\n(out / 'a').write_text('a')"
    outcome = machine.run(script)
    assert outcome.ending is Ending.SUCCEEDED
    assert "shadow (a link out of the results folder)" in outcome.reason
    assert [one["path"] for one in machine.report["outputs"]] == ["a"]


def test_deleting_its_inputs_harms_nobody(machine: Machine) -> None:
    script = (
        "p = pathlib.Path(m['inputs'][0])\ntry:\n    p.unlink()\nexcept PermissionError:\n    pass\n"
        "(out / 'a').write_text('a')"
    )
    assert machine.run(script).ending is Ending.SUCCEEDED
    assert machine.store.objects["lab/inputs/data.txt"] == b"1 2 3"


def test_a_full_disk_is_said_and_the_report_is_written(tmp_path: Path) -> None:
    """The agent and the analysis share a disk of 80 MB, and the analysis takes all of it."""
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*own, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces, so a test cannot mount a small disk")
    program = [*own, sys.executable, "-m", "tests.runner.full_disk", tmp_path]
    told = subprocess.run(program, cwd=PROJECT, check=True, capture_output=True, text=True)
    left = json.loads(told.stdout.splitlines()[-1])
    report, status = json.loads(left[REPORT]), json.loads(left[STATUS])
    assert (report["status"], status["status"]) == ("FAILED", "FAILED")
    assert "No space left on device" in report["reason"]
    assert "the machine's disk is full" in report["reason"]
    assert report["log_bytes_missing"] > 0
    assert left[LOG].startswith("[mayfly] fetched lab/inputs/data.txt")
    assert left[f"{RESULTS}small"] == "kept"


# The machine's gauges


def test_the_status_tells_how_full_the_machine_is(machine: Machine) -> None:
    machine.run("x = bytearray(50_000_000)\ntime.sleep(0.3)")
    status = json.loads(machine.store.objects[STATUS])
    gauges = status["machine"]
    assert 0 < gauges["memory_used"] <= gauges["memory_total"]
    assert 0 < gauges["disk_used"] <= gauges["disk_total"]
    assert machine.report["peaks"]["memory_used"] > 0
    assert machine.report["input_sha256"]


def test_gpus_are_read_where_there_are_any(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '87, 1024, 16384'\necho '3, 10, 16384'\n")
    tool.chmod(0o755)
    gauge = Gauge(tmp_path, program=str(tool))
    found = gauge.look(0.0)["gpus"]
    assert [gpu["percent"] for gpu in found] == [87, 3]
    assert gauge.peaks["gpu_percent"] == 87
    assert Gauge(tmp_path, program="no-such-tool").look(0.0)["gpus"] == []
    assert read_gpus("[N/A], 1\nnot a line\n") == []
