from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.iae.ending import Ending, TaskError
from runner.iae.log import LastLines, TaskLog
from runner.iae.machine import make_folders
from runner.iae.process import GRACE_S, Exit, Output, run_analysis, task_environment
from runner.iae.processes import Family, Meter, adopt_orphans, list_processes, select_tree
from runner.iae.user import choose_user

Run = Callable[..., Exit]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    log = TaskLog(tmp_path / "task.log", 100_000)
    yield Output(log=log, stdout=LastLines(20), stderr=LastLines(20))
    log.close()


@pytest.fixture(autouse=True)
def _subreaper() -> Iterator[None]:
    adopt_orphans()
    yield
    # Other tests of this process expect that orphans are collected by somebody else.
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@pytest.fixture
def run(tmp_path: Path, output: Output) -> Run:
    def start(
        script: str,
        *,
        limit_s: Callable[[], float] = lambda: 60.0,
        stopped: Callable[[], bool] = lambda: False,
        grace_s: float = GRACE_S,
    ) -> Exit:
        return run_analysis(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            environment=task_environment(os.environ, tmp_path, tmp_path / "reason.txt"),
            user=None,
            limit_s=limit_s,
            stopped=stopped,
            family=Family(),
            output=output,
            grace_s=grace_s,
        )

    return start


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A child of the agent that was there before the task, as the timer that ends the machine may be."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        yield sleeper
        sleeper.kill()


def until_it_speaks(output: Output) -> Callable[[], float]:
    """Return a time limit that is over once there is a line: who speaks has made its signals ready before."""
    return lambda: 0.0 if output.stdout.texts() else 60.0


def alive(pid: int) -> bool:
    found = list_processes().get(pid)
    return found is not None and found.state != "Z"


def test_success(run: Run, output: Output) -> None:
    ended = run("print('hello')")
    assert (ended.code, ended.signal, ended.cause) == (0, 0, None)
    assert output.log.path.read_bytes() == b"hello\n"
    assert output.stdout.texts() == ["hello"]


def test_both_streams_in_the_order_they_come_and_whole_lines(run: Run, output: Output, tmp_path: Path) -> None:
    def let_go() -> float:
        """Let the script print the next line once the one before has come: this machine may be busy."""
        (tmp_path / f"heard-{len(output.stdout.texts()) + len(output.stderr.texts())}").touch()
        return 60.0

    run(
        "import os, sys, time\n"
        "def say(number, *words, **where):\n"
        "    print(*words, **where)\n"
        "    while not os.path.exists(f'heard-{number}'): time.sleep(0.01)\n"
        "for n in range(3):\n"
        "    say(2 * n + 1, 'out', n)\n"
        "    say(2 * n + 2, 'err', n, file=sys.stderr)\n",
        limit_s=let_go,
    )
    assert output.log.path.read_text().split("\n")[:-1] == [f"{s} {n}" for n in range(3) for s in ("out", "err")]
    assert output.stderr.texts() == ["err 0", "err 1", "err 2"]


def test_the_exit_status_is_told(run: Run) -> None:
    assert run("raise SystemExit(3)").describe() == "it ended with exit status 3"


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "running out of memory"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGILL, "another processor")],
)
def test_a_signal_is_told_in_words(run: Run, number: int, words: str) -> None:
    ended = run(f"import os; os.kill(os.getpid(), {int(number)})")
    assert ended.code is None
    assert ended.signal == number
    assert words in ended.describe()


def test_ten_megabytes_do_not_block(run: Run, output: Output) -> None:
    ended = run("import sys\nfor n in range(100_000): sys.stdout.write('x' * 99 + chr(10))\nprint('end')")
    output.log.finish()
    assert ended.code == 0
    assert output.stdout.texts()[-1] == "end"
    assert output.log.dropped > 9_000_000


def test_a_line_without_an_end_is_shown_while_it_grows(run: Run, output: Output, tmp_path: Path) -> None:
    def look() -> float:
        if output.stdout.texts() == ["working"]:
            (tmp_path / "seen").touch()
        return 60.0

    ended = run(
        "import sys, os, time\nsys.stdout.write('working'); sys.stdout.flush()\n"
        "while not os.path.exists('seen'): time.sleep(0.05)\n",
        limit_s=look,
    )
    assert ended.code == 0
    assert (tmp_path / "seen").exists()


def test_the_time_limit_ends_it_politely_first(run: Run, output: Output) -> None:
    ended = run(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saving'), sys.exit(7)))\n"
        "print('ready')\n"
        "time.sleep(60)",
        limit_s=until_it_speaks(output),
    )
    assert (ended.cause, ended.code) == (Ending.TIMED_OUT, 7)  # it ended itself, and was not killed
    assert output.stdout.texts() == ["ready", "saving"]


def test_what_ignores_the_request_is_killed_with_all_its_children(run: Run, output: Output) -> None:
    ended = run(
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        # One child in the group, one in a session of its own whose parent is gone: a daemon.
        "a = subprocess.Popen(['sleep', '77'])\n"
        "b = subprocess.Popen(['setsid', 'sh', '-c', 'trap \"\" TERM; sleep 77 & echo $! ; exit'], text=True,\n"
        "    stdout=subprocess.PIPE)\n"
        "print(f'{a.pid} {b.stdout.readline().strip()}')\n"
        "time.sleep(60)",
        limit_s=until_it_speaks(output),
        grace_s=0.5,
    )
    pids = [int(word) for word in output.stdout.texts()[0].split()]
    assert ended.cause is Ending.TIMED_OUT
    assert ended.signal == signal.SIGKILL
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_what_it_leaves_behind_is_ended_and_does_not_hold_the_log_open(run: Run, output: Output) -> None:
    ended = run("import subprocess; print(subprocess.Popen(['setsid', 'sleep', '88']).pid)")
    assert ended.code == 0
    assert ended.seconds < 60  # and not 88
    assert not alive(int(output.stdout.texts()[0]))


def test_the_timer_of_the_machine_survives(run: Run, bystander: subprocess.Popen[bytes]) -> None:
    run("import subprocess; subprocess.Popen(['sleep', '66'])")
    assert alive(bystander.pid)


def test_a_machine_that_stops_ends_it(run: Run, output: Output) -> None:
    ended = run("import time; print('on'); time.sleep(60)", stopped=lambda: bool(output.stdout.texts()))
    assert (ended.cause, ended.signal) == (Ending.STOPPED, signal.SIGTERM)


def test_a_missing_program_is_the_environments_fault(tmp_path: Path, output: Output) -> None:
    with pytest.raises(TaskError, match="cannot start `/nowhere/python`: No such file") as caught:
        run_analysis(
            ["/nowhere/python"],
            cwd=tmp_path,
            environment={},
            user=None,
            limit_s=lambda: 1.0,
            stopped=lambda: False,
            family=Family(),
            output=output,
        )
    assert caught.value.ending is Ending.ENVIRONMENT_MISSING


def test_the_environment_lets_no_credential_through(tmp_path: Path) -> None:
    environ = {
        "PATH": "/p",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://x",
        "AWS_ENDPOINT_URL": "http://x",
        "PYTHONPATH": "/evil",
        "LD_PRELOAD": "/evil.so",
    }
    kept = task_environment(environ, tmp_path, tmp_path / "reason")
    assert kept["PATH"] == "/p"
    assert kept["CUDA_VISIBLE_DEVICES"] == "0"
    assert not [name for name in kept if name.startswith("AWS_")]
    assert not {"PYTHONPATH", "LD_PRELOAD"} & set(kept)
    assert kept["HOME"] == str(tmp_path)


def test_a_sandbox_with_one_user_keeps_that_user(tmp_path: Path) -> None:
    one = tmp_path / "uid_map"
    one.write_text("         0       1000          1\n")
    assert choose_user(one, is_root=True) is None


def test_root_runs_an_analysis_as_somebody_else_whether_the_image_has_an_account_or_not(tmp_path: Path) -> None:
    all_users = tmp_path / "uid_map"
    all_users.write_text("         0          0 4294967295\n")
    user = choose_user(all_users, is_root=True)
    assert user is not None
    assert user.uid >= 1000
    assert user.gid >= 1000
    assert choose_user(all_users, is_root=False) is None


@pytest.mark.skipif(choose_user() is None, reason="only root can become somebody else")
def test_an_analysis_of_root_is_an_ordinary_user_who_owns_its_folders_and_no_others(tmp_path: Path) -> None:
    user = choose_user()
    for parent in (tmp_path, *tmp_path.parents):
        if "pytest-" in str(parent):  # pytest lets only its owner in, and each of several workers has a folder between
            parent.chmod(0o755)
    folders = make_folders(tmp_path, user)
    (folders.inputs / "data").write_text("the input")
    (tmp_path / "secret").touch(0o600)
    script = (
        "import getpass, os, pathlib, sys\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "print(os.getuid() > 0, os.getgid() > 0, os.getgroups(), getpass.getuser())\n"
        "print((root / 'inputs/data').read_text())\n"
        "for name in ('results', 'scratch', 'reason', 'checkpoint'):\n"
        "    (root / name / 'mine').touch()\n"
        "for name in ('inputs/data', 'config/new', 'secret', '/etc/passwd'):\n"
        "    try:\n"
        "        (root / name).open('r+' if (root / name).is_file() else 'w')\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    print('may write', name)\n"
        "os.setuid(0)\n"
    )
    log = TaskLog(tmp_path / "task.log", 100_000)
    output = Output(log=log, stdout=LastLines(20), stderr=LastLines(20))
    ended = run_analysis(
        ["/usr/bin/python3", "-c", script, str(tmp_path)],
        cwd=folders.scratch,
        environment=task_environment(os.environ, folders.scratch, folders.reason / "reason.txt"),
        user=user,
        limit_s=lambda: 30.0,
        stopped=lambda: False,
        family=Family(),
        output=output,
    )
    log.close()
    assert output.stdout.texts() == ["True True [] mayfly", "the input"]
    assert output.stderr.texts()[-1].startswith("PermissionError")
    assert ended.code == 1


def test_the_meter_sees_a_busy_child() -> None:
    family = Family()
    meter = Meter(family)
    loop = [sys.executable, "-c", "print('on', flush=True)\nwhile True: pass"]
    with subprocess.Popen(loop, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        patience = time.monotonic() + 60
        load = meter.look(time.monotonic())
        while not (load.cpu_percent and meter.cpu_s) and time.monotonic() < patience:
            load = meter.look(time.monotonic())
        busy.kill()
    assert meter.cpu_s > 0
    assert load.cpu_percent > 0
    assert load.memory > 1_000_000
    assert meter.peak_memory >= load.memory


def test_processes_outside_are_left_out() -> None:
    me = list_processes()[os.getpid()]
    assert me.pid in {found.pid for found in select_tree(list_processes(), me.parent)}
    assert os.getpid() not in {found.pid for found in select_tree(list_processes(), me.parent, [(me.pid, me.started)])}
