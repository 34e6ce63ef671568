"""`make clean` removes what runs made, read-only images too, and nothing while something still runs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = Path(__file__).parent.parent / ".ci" / "clean.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(CLEAN, tmp_path / ".ci")
    sealed = tmp_path / ".mayfly" / "images" / "abc" / "venv"
    sealed.mkdir(parents=True)
    (sealed / "file").write_text("x")
    (sealed / "away").symlink_to(tmp_path / ".ci")
    (sealed / "file").chmod(0o444)
    sealed.chmod(0o555)
    (tmp_path / ".mayfly" / "main").mkdir()
    (tmp_path / ".mayfly" / "main" / "lock").write_text("4711")
    (tmp_path / "build" / "base").mkdir(parents=True)
    return tmp_path


def clean(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, project / ".ci" / "clean.py"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_everything_is_removed_and_nothing_else(project: Path) -> None:
    (project / "mayfly.yaml").write_text("")
    assert clean(project).returncode == 0
    assert sorted(path.name for path in project.iterdir()) == [".ci", "mayfly.yaml"]
    assert (project / ".ci" / "clean.py").exists()
    assert clean(project).returncode == 0


def test_what_runs_is_named_and_left_alone(project: Path) -> None:
    with (project / ".mayfly" / "main" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = clean(project)
    assert done.returncode == 1
    assert ".mayfly/main is in use by process 4711" in done.stderr
    assert (project / "build").exists()
