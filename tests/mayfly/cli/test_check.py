"""`mayfly check` for programs, and against an earlier revision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mayfly.cli.main import run
from state.errors import SourceError, UsageError
from tests.compiler.projects import MINIMAL, Project, small_project
from tests.git import git


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


def check(project: Project, *arguments: str) -> int:
    return run(["--project", str(project.folder), "check", *arguments])


@pytest.fixture
def released(project: Project) -> Project:
    git(project.folder, "init", "-q")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-qm", "first")
    git(project.folder, "tag", "v1")
    return project


def test_sarif_is_one_document_and_the_exit_code_stays(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, "--sarif") == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"] == []
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\nanalyses: [tinny]\n")
    assert check(project, "--sarif") == SourceError.exit_code
    (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("analyses", "error")


def test_json_names_the_rule_and_the_way_out(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.add_blueprint("tiny", MINIMAL.replace("t3.medium", "p3.2xlarge"))
    assert check(project, "--json") == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning["rule"] == "machine-retired"
    assert warning["way_out"] == "Its successor is g5.2xlarge."
    assert (warning["line"], warning["column"], warning["field"]) == (5, 20, "resources[0].instance_type")


def test_warnings_are_counted_where_nothing_is_wrong(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.add_blueprint("tiny", MINIMAL.replace("t3.medium", "p3.2xlarge"))
    assert check(project) == 0
    assert "1 analysis and 1 group: no errors, 1 warning." in capsys.readouterr().out


def test_two_forms_at_once_are_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, "--json", "--sarif") == UsageError.exit_code
    assert "choose one" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("git") is None, reason="needs Git")
class TestAgainst:
    def test_nothing_changed(self, released: Project, capsys: pytest.CaptureFixture[str]) -> None:
        assert check(released, "--against", "v1") == 0
        assert "nothing is wrong" in capsys.readouterr().out

    def test_a_new_name_without_a_rename_is_told(self, released: Project, capsys: pytest.CaptureFixture[str]) -> None:
        (released.folder / "blueprints/tiny").rename(released.folder / "blueprints/small")
        released.add_blueprint("small", MINIMAL.replace("id: tiny", "id: small"))
        released.write("users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [small]\n")
        assert check(released, "--against", "v1") == 0
        assert "If it has a new id, say `renamed_from: tiny` there." in capsys.readouterr().out
        released.add_blueprint("small", MINIMAL.replace("id: tiny", "id: small") + "renamed_from: tiny\n")
        assert check(released, "--against", "v1") == 0
        assert "is gone" not in capsys.readouterr().out

    def test_another_bucket_is_refused(self, released: Project, capsys: pytest.CaptureFixture[str]) -> None:
        released.add_blueprint("tiny", MINIMAL + "bucket: elsewhere\n")
        assert check(released, "--against", "v1") == SourceError.exit_code
        assert "the bucket was 'demo-tiny' in v1 and would be 'elsewhere'" in capsys.readouterr().out

    def test_what_cannot_be_read_there_counts_for_its_id(self, released: Project) -> None:
        released.write("blueprints/tiny/blueprint.yaml", "id: [\n")
        git(released.folder, "commit", "-qam", "broken")
        released.add_blueprint("tiny", MINIMAL)
        assert check(released, "--against", "HEAD") == 0

    @pytest.mark.parametrize("revision", ["nowhere", "--help", "v1:mayfly.yaml", ""])
    def test_no_such_revision(self, released: Project, revision: str, capsys: pytest.CaptureFixture[str]) -> None:
        code = check(released, f"--against={revision}")
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert code == UsageError.exit_code or (not revision and code == 0)

    def test_outside_of_a_repository(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        assert check(project, "--against", "main") == UsageError.exit_code
        assert "Git cannot read that revision" in capsys.readouterr().err
