"""`mayfly import neurocaas` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mayfly.cli.main import run

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "neurocaas"


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "imported"
    code = run(["import", "neurocaas", str(FIXTURES / "tracking"), "--out", str(out), "--dry-run"])
    said = capsys.readouterr().out
    assert code == 0
    assert not out.exists()
    assert "would be written: blueprints/pose-ncap-web/blueprint.yaml" in said
    assert "p3.2xlarge is retired or retiring" in said


def test_a_folder_of_templates_becomes_a_project_that_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "imported"
    code = run(["import", "neurocaas", str(FIXTURES), "--out", str(out), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 3  # one of the fixtures is broken JSON, and is told
    assert report["files"]["mayfly.yaml"] == "written"
    assert report["ids"]["groups"]["jane.doe@lab.examplegroup"] in {path.stem for path in (out / "users").iterdir()}
    broken = [one for one in report["findings"] if one["file"].endswith("broken/stack_config_template.json")]
    assert [one["severity"] for one in broken] == ["error"]
    assert run(["--project", str(out), "check"]) == 0


def test_what_is_there_is_kept_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", "neurocaas", str(FIXTURES / "tracking"), "--out", str(tmp_path)]
    run(command)
    mine = tmp_path / "blueprints" / "pose-ncap-web" / "blueprint.yaml"
    imported = mine.read_text()
    mine.write_text(imported + "# mine\n")
    assert run(command) == 0
    assert mine.read_text().endswith("# mine\n")
    assert "--force writes over them" in capsys.readouterr().err
    run([*command, "--force"])
    assert mine.read_text() == imported


def test_paths_without_templates_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "neurocaas", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert run(["import", "neurocaas", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 2
    assert "is not there" in capsys.readouterr().err
