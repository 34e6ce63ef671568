"""`make demo` hands on what was asked for on its command line, word for word, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with our Makefile, a set-up that has nothing to do, and a `mayfly` that prints its arguments."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "install.py").touch()
    mayfly = tmp_path / ".venv" / "bin" / "mayfly"
    mayfly.parent.mkdir(parents=True)
    mayfly.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    mayfly.chmod(0o755)
    return tmp_path


def environment() -> dict[str, str]:
    """Return our environment without what `make test` put there: a make below a make says more."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES", "MAKELEVEL", "ARGS"}
    }


def make(project: Path, *arguments: str, **more: str) -> list[str]:
    done = subprocess.run(
        ["make", *arguments], cwd=project, env={**environment(), **more}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_paths_with_blanks_and_signs_of_the_shell_arrive_whole(project: Path) -> None:
    data, config = "my lab/my $(touch x) data.npy", 'it\'s "mine".yaml'
    quoted = data.replace("$", "$$")  # what a person writes for make
    said = make(project, "demo", f"DATA={quoted}", f"CONFIG={config}")
    assert said == ["demo", "--data", data, "--config", config]
    assert not (project / "x").exists()


def test_variables_of_the_persons_own_are_not_meant(project: Path) -> None:
    assert make(project, "demo", DATA="/data", CONFIG="/etc/config") == ["demo"]


def test_further_options_are_handed_on(project: Path) -> None:
    assert make(project, "demo", "ARGS=--analysis pca") == ["demo", "--analysis", "pca"]


def test_ctrl_c_waits_until_the_demo_has_stopped(project: Path) -> None:
    (project / ".venv" / "bin" / "mayfly").write_text(
        "#!/bin/sh\ntrap 'sleep 0.3; touch stopped; exit 130' INT\necho begun\nwhile :; do sleep 0.1; done\n"
    )
    process = subprocess.Popen(
        ["make", "demo"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        assert (project / "stopped").exists()
    assert process.returncode in {-signal.SIGINT, 130}
