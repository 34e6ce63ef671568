"""Set-up hands uv what pip is configured to use, and says in words what is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.machine import is_gone

PROJECT = Path(__file__).parent.parent
PATIENCE_S = 60
"""For what takes a moment where other tests leave some of the machine."""


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", PROJECT / "locks" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_strongest_source_of_a_pip_option_wins(install: ModuleType) -> None:
    lines = [
        ":env:.index-url='https://from.environment/simple'",
        "global.index-url='https://of.the.house/simple'",
        "install.index-url='https://for.install/simple'",
        "freeze.timeout='10'",
        "global.cert='/etc/house.pem'",
    ]
    assert install.parse_pip_config(lines) == {
        "index-url": "https://from.environment/simple",
        "cert": "/etc/house.pem",
    }


def test_uv_gets_pips_options_unless_it_has_its_own(install: ModuleType) -> None:
    options = {"extra-index-url": "https://a/simple\nhttps://b/simple", "find-links": "/w /x", "cert": "/house.pem"}

    environment = install.uv_environment(options, {"HOME": "/", "SSL_CERT_FILE": "/mine.pem"})

    assert environment["UV_INDEX"] == "https://a/simple https://b/simple"
    assert environment["UV_FIND_LINKS"] == "/w,/x"
    assert environment["SSL_CERT_FILE"] == "/mine.pem"


def test_a_home_that_cannot_be_written_needs_no_cache_there(install: ModuleType) -> None:
    assert install.uv_environment({}, {"HOME": "/nowhere"})["UV_CACHE_DIR"].endswith(".venv/cache")


def test_what_is_missing_is_said_with_a_way_out(install: ModuleType) -> None:
    assert "PIP_INDEX_URL" in install.explain("error: Failed to resolve host pypi.org")
    assert "disk" in install.explain("OSError: [Errno 28] No space left on device")
    assert install.explain("") == "it said nothing"


def test_every_lock_is_exact_and_hashed() -> None:
    for lock in ("runtime", "dev", "setup"):
        text = (PROJECT / "locks" / f"{lock}.txt").read_text()
        names = re.findall(r"(?m)^([a-z0-9-]+)==[^ ]+ .*\\$", text)
        assert len(names) == len(re.findall(r"(?m)^[^ #\n]", text)), lock
        assert all("--hash=sha256:" in part for part in re.split(r"(?m)^(?=[a-z])", text)[1:]), lock


def test_who_can_test_can_also_run() -> None:
    runtime, dev = ((PROJECT / "locks" / f"{lock}.txt").read_text() for lock in ("runtime", "dev"))
    pin = re.compile(r"(?m)^[a-z0-9-]+==[^ ]+")
    assert set(pin.findall(runtime)) <= set(pin.findall(dev))
    assert {"hatchling", "editables"} <= {name.split("==")[0] for name in pin.findall(runtime)}


@pytest.mark.slow
def test_ctrl_c_is_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """Stopped while Python makes the environment, and again while pip waits for an index that does not answer."""
    shutil.copytree(PROJECT / "locks", tmp_path / "locks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        for word in ("creating .venv", "fetching uv"):
            code, said = stopped_at(word, tmp_path, {"PIP_INDEX_URL": index})
            assert code == 130, said
            assert said.endswith("set-up: stopped; the next run goes on\n")
            assert "Traceback" not in said


def stopped_at(word: str, project: Path, more: dict[str, str]) -> tuple[int, str]:
    """Start a set-up, press Ctrl-C as a terminal does when it says a word, and return how it ended, all of it."""
    process = subprocess.Popen(
        [sys.executable, project / "locks" / "install.py", "runtime"],
        env={**os.environ, **more},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    with process:
        for line in process.stderr:
            said.append(line)
            if word in line:
                os.killpg(process.pid, signal.SIGINT)
                word = "\0"  # once is enough
    end = time.monotonic() + PATIENCE_S
    while left := members(process.pid):
        assert time.monotonic() < end, f"something of it is still there: {left}"
        time.sleep(0.05)
    return process.returncode, "".join(said)


def members(group: int) -> list[int]:
    """Return the living processes of a group; one that ended and that nobody collects is none."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == group and not is_gone(pid):
                found.append(pid)
    return found


def test_what_set_up_compiles_is_what_runs(install: ModuleType) -> None:
    assert all(importlib.util.find_spec(program) for program in install.PROGRAMS)
