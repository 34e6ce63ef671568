"""The bootstrap script, run for real: a bash, an HTTP server, and shims that write down who wants to shut down."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compiler.job import Agent, render_user_data, task_manifest
from tests.compiler.bootstrapped import Machine, finish, read_until, run
from tests.fakes.jobs import NOW, a_job

SAY_MANIFEST = "import pathlib, sys; print('AGENT', sys.argv[1], pathlib.Path(sys.argv[2]).read_text(), flush=True)"
HANG = "import time; print('AGENT', flush=True); time.sleep(600)"


@dataclass(slots=True, kw_only=True)
class Store:
    """What the server answers, one after the other; the last answer stays."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    asked: int = 0
    url: str = ""


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answers[min(made.asked, len(made.answers) - 1)]
            made.asked += 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/agent.pyz?signature=a%2Fb"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def zipapp(main: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("__main__.py", main)
    return body.getvalue()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(folder=tmp_path)


def make_script(store: Store, agent: bytes, *, parameters: dict[str, Any] | None = None) -> bytes:
    job = a_job(parameters=parameters or {})
    manifest = task_manifest(job, job.tasks[0], NOW)
    return render_user_data(
        manifest,
        agent=Agent(url=store.url, sha256=hashlib.sha256(agent).hexdigest()),
        deadline=datetime.fromtimestamp(time.time() + 600, UTC),
    )


def test_the_agent_runs_with_its_manifest_and_then_the_machine_ends(machine: Machine, store: Store) -> None:
    agent = zipapp(SAY_MANIFEST)
    store.answers = [(200, agent)]
    parameters = {"hostile": "$(touch hacked) `id` '\"\n\\ EOF PYTHON ${x} 😀", "n": 2}
    seen = run(machine, make_script(store, agent, parameters=parameters))
    said = next(line for line in seen.splitlines() if line.startswith("AGENT --manifest "))
    assert json.loads(said.removeprefix("AGENT --manifest "))["parameters"] == parameters
    assert "the agent ended with status 0; shutting down" in seen
    assert machine.log.read_text() == "shutdown -h now\n"
    assert not list(machine.folder.rglob("hacked"))


def test_an_agent_that_dies_takes_the_machine_with_it(machine: Machine, store: Store) -> None:
    agent = zipapp("import os; os.kill(os.getpid(), 9)")
    store.answers = [(200, agent)]
    assert "the agent ended with status 137; shutting down" in run(machine, make_script(store, agent))
    assert machine.log.exists()


def test_another_agent_than_the_one_meant_is_not_run(machine: Machine, store: Store) -> None:
    store.answers = [(200, zipapp("print('AGENT')"))]
    seen = run(machine, make_script(store, zipapp(SAY_MANIFEST)))
    assert "the agent that came is not the one that was meant" in seen
    assert "AGENT" not in seen
    assert "the agent could not be fetched (status 93); shutting down" in seen
    assert store.asked == 1
    assert machine.log.read_text() == "shutdown -h now\n"


def test_a_store_that_is_not_ready_is_asked_again(machine: Machine, store: Store) -> None:
    agent = zipapp(SAY_MANIFEST)
    store.answers = [(503, b""), (403, b""), (200, agent)]
    seen = run(machine, make_script(store, agent))
    assert seen.count("the agent cannot be fetched yet") == 2
    assert "AGENT --manifest" in seen
    assert "signature" not in seen


@pytest.mark.slow
def test_a_store_that_never_answers_ends_the_machine(machine: Machine, store: Store) -> None:
    store.answers = [(500, b"")]
    seen = run(machine, make_script(store, b""))
    assert "mayfly: the agent cannot be fetched: HTTP Error 500" in seen
    assert store.asked == 7
    assert machine.log.exists()


def test_the_deadman_ends_a_machine_whose_agent_hangs(machine: Machine, store: Store) -> None:
    agent = zipapp(HANG)
    store.answers = [(200, agent)]
    process = machine.start(make_script(store, agent))
    try:
        assert "shutting down" not in read_until(process, "AGENT")
        machine.be_late()
        assert "the deadline has passed" in read_until(process, "shutting down")
        assert process.poll() is None
    finally:
        finish(process)


GRANTED = """
import os, pathlib, time
work = pathlib.Path(os.environ["MAYFLY_TIMER"])
(work / "deadline").write_text(str(int(time.time()) + 2 * 86400) + chr(10))
print("AGENT", flush=True)
while not (work.parent / "over").exists():
    time.sleep(0.05)
"""


def test_the_deadman_waits_for_a_later_deadline(machine: Machine, store: Store) -> None:
    agent = zipapp(GRANTED)
    store.answers = [(200, agent)]
    process, pause = machine.start(make_script(store, agent)), threading.Event()
    try:
        assert "shutting down" not in read_until(process, "AGENT")
        machine.be_late()
        while not machine.is_looked_at():
            pause.wait(0.05)
        (machine.folder / "over").touch()
        assert read_until(process, "shutting down").endswith("the agent ended with status 0; shutting down\n")
    finally:
        finish(process)


@pytest.mark.parametrize(("written", "is_shut_down"), [(None, True), (-5, True), ("soon", True), (600, False)])
def test_the_timer_of_systemd_looks_for_a_later_deadline(
    machine: Machine, store: Store, written: int | str | None, is_shut_down: bool
) -> None:
    """The command that systemd is given is cut out of the script and run as systemd would, after the first deadline."""
    agent = zipapp("print('AGENT')")
    store.answers = [(200, agent)]
    script = make_script(store, agent).decode()
    begin = script.index("bash -c 'read")
    command = script[begin : script.index(" || true", begin)]
    run(machine, script.encode())
    machine.log.unlink()
    if written is not None:
        later = int(time.time()) + written if isinstance(written, int) else written
        (machine.folder / "deadline").write_text(f"{later}\n")
    environment = {"PATH": str(machine.folder / "bin"), "work": str(machine.folder)}
    subprocess.run(["/bin/bash", "-c", command], env=environment, check=False)
    assert machine.log.exists() is is_shut_down


def test_the_deadman_ends_a_machine_that_hears_nothing_from_the_platform(machine: Machine, store: Store) -> None:
    agent = zipapp(HANG)
    store.answers = [(200, agent)]
    script = make_script(store, agent)
    assert b"\nsilence_s=3600\n" in script
    process = machine.start(script.replace(b"\nsilence_s=3600\n", b"\nsilence_s=0\n"))
    try:
        assert "the platform was silent for 0 seconds" in read_until(process, "shutting down")
    finally:
        finish(process)


def test_the_deadman_outlives_the_script(machine: Machine, store: Store) -> None:
    agent = zipapp(HANG)
    store.answers = [(200, agent)]
    process = machine.start(make_script(store, agent))
    try:
        read_until(process, "AGENT")
        process.kill()
        process.wait()
        machine.be_late()
        assert "the deadline has passed" in read_until(process, "shutting down")
    finally:
        finish(process)


def test_a_shutdown_that_fails_is_followed_by_the_next_means(machine: Machine, store: Store) -> None:
    agent = zipapp("print('AGENT')")
    store.answers = [(200, agent)]
    run(machine, make_script(store, agent), shutdown="exit 1")
    assert machine.log.read_text() == "shutdown -h now\npoweroff \n"


@pytest.mark.skipif(shutil.which("python3", path="/usr/sbin:/sbin") is not None, reason="/usr/sbin is /usr/bin here")
def test_a_machine_without_python_ends(machine: Machine, store: Store) -> None:
    store.answers = [(200, b"")]
    seen = run(machine, make_script(store, b""), python=False)
    assert "the agent could not be fetched (status 127); shutting down" in seen
    assert machine.log.exists()
