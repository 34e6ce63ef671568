"""The layer contract holds, and it is a contract that can fail: each planted import breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
ROOMS = ("state", "compiler", "runner", "mayfly")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def check_layers(project: Path) -> subprocess.CompletedProcess[str]:
    # The rooms of this folder, not those that are installed.
    environment = {**os.environ, "PYTHONPATH": str(project)}
    command = [LINT_IMPORTS, "--config", project / "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_rooms_import_downward_only() -> None:
    done = check_layers(PROJECT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("state/planted.py", "import runner", "rooms import downward only"),
        ("compiler/planted.py", "import runner", "rooms import downward only"),
        ("runner/planted.py", "import mayfly", "rooms import downward only"),
        ("runner/planted.py", "import boto3", "only runner/cloud.py talks to AWS"),
        ("mayfly/cli/planted.py", "import botocore.session", "only runner/cloud.py talks to AWS"),
        ("mayfly/planted.py", "import dbos", "only runner/engine.py knows DBOS"),
        ("runner/planted.py", "import python_terraform", "only runner/terraform.py runs Terraform"),
    ],
)
def test_a_planted_import_is_found(copy: Path, file: str, line: str, contract: str) -> None:
    (copy / file).write_text(line + "\n")

    done = check_layers(copy)

    assert done.returncode == 1, done.stdout
    assert f"{contract} BROKEN" in done.stdout
    assert "1 broken" in done.stdout
