"""Children that are watched, stopped and buried: with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.process import Finished, run
from tests.machine import is_gone

READY = "import signal, sys, time, os\n"
SAYS_WHEN_INTERRUPTED = (
    READY
    + "def leave(*_):\n    print('saved', flush=True)\n    sys.exit(3)\n"
    + "signal.signal(signal.SIGINT, leave)\nprint('ready', flush=True)\n"
    + "time.sleep(60)\n"
)
DEAF = READY + "signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('ready', os.getpid(), flush=True)\ntime.sleep(60)\n"


class Heard:
    """Keeps lines, and tells when the first has come."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.errors: list[str] = []
        self.first = threading.Event()

    def __call__(self, line: str, *, error: bool) -> None:
        (self.errors if error else self.out).append(line)
        self.first.set()


def start(code: str, tmp_path: Path, heard: Callable[..., None], **options: object) -> Finished:
    arguments = {"grace_s": 20.0, **options}
    return run([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), take=heard, **arguments)  # type: ignore[arg-type]


def wait_for(what: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return what()


def test_lines_come_apart_and_the_exit_status_is_told(tmp_path: Path) -> None:
    heard = Heard()
    code = "import sys\nprint('a')\nprint('b' * 200000)\nprint('ü', file=sys.stderr)\nprint('end', end='')\nsys.exit(7)"
    done = start(code, tmp_path, heard)
    assert done.code == 7
    assert heard.out == ["a", "b" * 200000, "end"]
    assert heard.errors == ["ü"]
    assert not done.interrupted
    assert not done.killed


def test_a_stop_interrupts_once_and_leaves_time_to_save(tmp_path: Path) -> None:
    heard = Heard()
    done = start(SAYS_WHEN_INTERRUPTED, tmp_path, heard, stop=heard.first.is_set)
    assert (done.code, done.interrupted, done.killed) == (3, True, False)
    assert heard.out == ["ready", "saved"]


def test_time_that_is_up_interrupts(tmp_path: Path) -> None:
    heard = Heard()
    done = start(SAYS_WHEN_INTERRUPTED, tmp_path, heard, timeout_s=1.5)
    assert (done.timed_out, done.interrupted) == (True, False)
    assert done.code in {3, -signal.SIGINT}


def test_who_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    heard = Heard()
    code = DEAF.replace("time.sleep(60)", "").strip() + (
        "\nimport subprocess\nchild = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\nchild.wait()\n"
    )
    done = start(code, tmp_path, heard, stop=lambda: len(heard.out) > 1, grace_s=0.5)
    assert (done.code, done.killed) == (-signal.SIGKILL, True)
    assert wait_for(lambda: is_gone(int(heard.out[1])))


def test_what_a_dead_child_left_running_is_killed(tmp_path: Path) -> None:
    heard = Heard()
    code = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
    done = start(code, tmp_path, heard)
    assert done.code == 0
    assert done.seconds < 20
    assert wait_for(lambda: is_gone(int(heard.out[0])))


def test_an_error_of_the_listener_ends_the_child_first(tmp_path: Path) -> None:
    pids: list[int] = []

    def break_down(line: str, *, error: bool) -> None:
        assert not error
        pids.append(int(line.rsplit(maxsplit=1)[-1]))
        raise RuntimeError("listener broke")

    code = SAYS_WHEN_INTERRUPTED.replace("print('ready'", "print('ready', os.getpid()")
    with (tmp_path / "log").open("ab") as log, pytest.raises(RuntimeError, match="listener broke"):
        start(code, tmp_path, break_down, log=log)
    assert is_gone(pids[0])
    assert (tmp_path / "log").read_text().splitlines()[-1] == "saved"


def test_a_full_disk_under_the_log_does_not_stop_the_child(tmp_path: Path) -> None:
    heard = Heard()
    with Path("/dev/full").open("wb", buffering=0) as log:
        done = start("print('a')\nprint('b')", tmp_path, heard, log=log)
    assert done.code == 0
    assert heard.out == ["a", "b"]


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    heard = Heard()
    done = run([str(tmp_path / "no")], cwd=tmp_path, env={}, take=heard, grace_s=1)
    assert done.code != 0
    assert any("No such file" in line for line in heard.errors)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a child which writes down that it was interrupted."""
    code = SAYS_WHEN_INTERRUPTED.replace("print('saved', flush=True)", "open('saved', 'w').close()")
    (tmp_path / "child.py").write_text(code.replace("print('ready', flush=True)", "print(os.getpid(), flush=True)"))
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom runner.process import run\n"
        f"sys.exit(run([sys.executable, 'child.py'], cwd=Path({str(tmp_path)!r}), env=dict(os.environ),"
        " take=lambda line, *, error: print(line, flush=True), grace_s=20).code)\n"
    )
    process = subprocess.Popen(
        # A shell in the background ignores SIGINT for its children.
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    yield process
    process.kill()
    process.communicate()


def test_the_death_of_the_parent_interrupts_the_child(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    assert wait_for(lambda: is_gone(child))
    assert (tmp_path / "saved").exists()


def test_a_child_hears_sigint_though_its_parent_ignores_it(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    assert parent.stdout is not None
    os.kill(int(parent.stdout.readline()), signal.SIGINT)
    assert parent.wait(60) == 3
    assert (tmp_path / "saved").exists()


def test_ctrl_c_reaches_the_child_once_through_us(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    """A terminal's Ctrl-C goes to the parent's process group only; the child is in another."""
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert os.getpgid(child) != os.getpgid(parent.pid)
    parent.terminate()
    parent.wait(60)
    assert wait_for(lambda: is_gone(child))
    assert (tmp_path / "saved").exists()
