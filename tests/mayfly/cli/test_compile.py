"""`mayfly compile` as a person meets it: what it writes, what is stale, and what it lets go of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mayfly.cli.main import run
from tests.compiler.projects import MINIMAL, Project, small_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


def mayfly(project: Project, *arguments: str) -> int:
    return run(["--project", str(project.folder), *arguments])


def test_compile_check_says_what_is_stale_and_writes_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mayfly(project, "compile", "--check") == 1
    assert not (project.folder / "build").exists()
    assert mayfly(project, "compile") == 0
    assert mayfly(project, "compile", "--check") == 0
    assert "is what the YAML files say" in capsys.readouterr().out
    project.add_blueprint("tiny", MINIMAL + "limits: {cost: 7}\n")
    assert mayfly(project, "compile", "--check", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["written"] == ["analyses/tiny/analysis.auto.tfvars.json"]
    assert mayfly(project, "compile", "--check") == 1
    assert "is stale: run `mayfly compile`" in capsys.readouterr().out


def test_what_was_applied_and_is_described_no_more_is_let_go_of_and_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    state = project.folder / ".mayfly/main/state/analyses/old.tfstate"
    state.parent.mkdir(parents=True)
    bucket = {"mode": "managed", "type": "aws_s3_bucket", "instances": [{"attributes": {"force_destroy": False}}]}
    state.write_text(json.dumps({"version": 4, "resources": [bucket]}))
    assert mayfly(project, "compile") == 0
    assert "the blueprint of 'old' is gone: its bucket stays, with all data" in capsys.readouterr().err
    main = project.folder / "build/analyses/old/main.tf"
    assert "destroy = false" in main.read_text()
    state.write_text(json.dumps({"version": 4, "resources": []}))
    assert mayfly(project, "compile") == 0
    assert not main.exists()


def test_history_of_what_is_not_there(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert mayfly(project, "blueprint", "history", "tyni") == 2
    assert "There is no analysis tyni" in capsys.readouterr().err
