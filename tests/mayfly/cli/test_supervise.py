"""The supervisor restarts what dies, stops what it started, and leaves nothing behind, whatever kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mayfly.cli.supervise import Program, Supervisor, end_with, last_words
from state.errors import MayflyError
from tests.machine import is_gone

SLEEP = "import signal, time; signal.pause()"


def program(folder: Path, name: str, code: str) -> Program:
    return Program(name=name, command=[sys.executable, "-c", textwrap.dedent(code)], log=folder / f"{name}.log")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    pulse = threading.Event()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pulse.wait(0.02)


def test_a_killed_child_starts_again_and_that_is_said(tmp_path: Path) -> None:
    news: list[str] = []
    supervisor = Supervisor([program(tmp_path, "worker", SLEEP)], environment=os.environ, on_news=news.append)
    supervisor.start()
    try:
        first = supervisor.pids["worker"]
        os.kill(first, signal.SIGKILL)

        def is_back() -> bool:
            supervisor.check()
            return supervisor.pids.get("worker", first) != first

        wait_for(is_back)
    finally:
        supervisor.stop()
    assert len(news) == 1
    assert "worker was killed by SIGKILL; it starts again in 1 s" in news[0]


def test_what_a_failing_child_said_last_is_told(tmp_path: Path) -> None:
    news: list[str] = []
    failing = program(tmp_path, "watch", "import sys; sys.exit('the queue is gone')")
    supervisor = Supervisor([failing], environment=os.environ, on_news=news.append)
    supervisor.start()
    try:
        wait_for(lambda: (supervisor.check(), bool(news))[1])
    finally:
        supervisor.stop()
    assert "watch ended with exit code 1" in news[0]
    assert "the queue is gone" in news[0]


def test_a_child_that_can_never_start_ends_the_waiting_with_its_last_words(tmp_path: Path) -> None:
    news: list[str] = []
    hopeless = program(tmp_path, "worker", "import sys; sys.exit('Terraform is gone')")
    supervisor = Supervisor([hopeless], environment=os.environ, on_news=news.append, patience=2)
    supervisor.start()
    try:
        with pytest.raises(MayflyError) as caught:
            wait_for(lambda: (supervisor.check(), False)[1])
    finally:
        supervisor.stop()
    words = f"worker ended with exit code 1, 2 times in a row (log: {hopeless.log}): Terraform is gone"
    assert str(caught.value) == words
    assert len(news) == 1


def test_a_child_that_falls_now_and_then_is_no_reason_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mayfly.cli.supervise.STEADY_S", 0.0)
    news: list[str] = []
    unlucky = program(tmp_path, "worker", "import sys; sys.exit('oh')")
    supervisor = Supervisor([unlucky], environment=os.environ, on_news=news.append, patience=2)
    supervisor.start()
    try:
        wait_for(lambda: (supervisor.check(), len(news) == 2)[1])
    finally:
        supervisor.stop()


def test_every_child_is_asked_to_stop_and_waited_for(tmp_path: Path) -> None:
    code = """
        import pathlib, signal, sys, time
        def stop(*_):
            with open({file!r}, "a") as file:
                file.write({name!r} + "\\n")
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        pathlib.Path({file!r} + "." + {name!r}).touch()
        signal.pause()
    """
    order = tmp_path / "order"
    names = ("first", "second")
    programs = [program(tmp_path, name, code.format(file=str(order), name=name)) for name in names]
    supervisor = Supervisor(programs, environment=os.environ, on_news=print)
    supervisor.start()
    wait_for(lambda: all(Path(f"{order}.{name}").exists() for name in names))
    supervisor.stop()
    assert sorted(order.read_text().split()) == ["first", "second"]
    assert supervisor.pids == {}


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    child = (
        "import os, signal; from mayfly.cli.supervise import end_with; end_with(os.getppid()); "
        "print('ready', flush=True); signal.pause()"
    )
    said = tmp_path / "log"
    parent = f"""
        import os, signal
        from pathlib import Path
        from mayfly.cli.supervise import Program, Supervisor
        worker = Program(
            name="worker", command=[{sys.executable!r}, "-c", {child!r}], log=Path({str(said)!r}))
        supervisor = Supervisor([worker], environment=os.environ, on_news=print)
        supervisor.start()
        print(supervisor.pids["worker"], flush=True)
        signal.pause()
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    wait_for(lambda: last_words(said) == "ready")
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: is_gone(orphan))


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mayfly.cli.supervise.GRACE_S", 0.3)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    deaf = program(tmp_path, "deaf", code)
    supervisor = Supervisor([deaf], environment=os.environ, on_news=print)
    supervisor.start()
    pid = supervisor.pids["deaf"]
    wait_for(lambda: last_words(deaf.log) == "deaf")
    supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_a_child_whose_parent_is_gone_does_not_start() -> None:
    with pytest.raises(MayflyError, match="is gone"):
        end_with(1 if os.getppid() != 1 else 2)


def test_last_words_of_a_log_that_never_was(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none.log") == ""
