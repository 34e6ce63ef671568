"""The doctor says what is there, what is missing, and the way out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.cli import doctor
from mayfly.cli.context import Context
from mayfly.cli.doctor import Verdict
from mayfly.cli.main import run
from runner.toolchain import Toolchain

DEPLOYMENT = 'name: trial\naccount: "123456789012"\nregion: us-east-1\n'


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "mayfly.yaml").write_text(DEPLOYMENT)
    return Context(project_option=tmp_path)


def fake_terraform(folder: Path, version: str) -> dict[str, str]:
    program = folder / "terraform"
    program.write_text(f"#!/bin/sh\necho 'Terraform v{version}'\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_DIRS": str(folder)}


def test_a_terraform_that_is_too_old(context: Context, tmp_path: Path) -> None:
    finding = doctor.check_terraform(context, fake_terraform(tmp_path, "1.5.7"))
    assert finding.verdict is Verdict.MISSING
    assert "1.5.7 is too old" in finding.way_out


def test_a_terraform_that_will_do(context: Context, tmp_path: Path) -> None:
    finding = doctor.check_terraform(context, fake_terraform(tmp_path, "1.11.4"))
    assert finding.verdict is Verdict.OK
    assert "terraform 1.11.4" in finding.found


def test_an_agent_without_its_older_libraries_is_a_warning_with_the_way_out(tmp_path: Path) -> None:
    assert doctor.check_agent(tmp_path).verdict is Verdict.OK
    finding = doctor.check_agent(tmp_path / "none")
    assert finding.verdict is Verdict.WARNING
    assert "make setup-old" in finding.way_out


def without_provider(folder: Path) -> Toolchain:
    config = folder / "terraform.tfrc"
    return Toolchain(
        binary=folder, version="1.11.4", product="terraform", mirror=None, provider="", config=config, cache=folder
    )


def test_no_provider_and_no_registry_is_missing_with_a_way_out(tmp_path: Path) -> None:
    finding = doctor.judge_provider(without_provider(tmp_path), lambda _: "no answer")
    assert finding.verdict is Verdict.MISSING
    assert "registry.terraform.io cannot be reached (no answer)" in finding.found
    assert "~/.terraform.d/plugins" in finding.way_out


def test_a_registry_within_reach_or_a_mirror_will_do(tmp_path: Path) -> None:
    bare = without_provider(tmp_path)
    assert doctor.judge_provider(bare, lambda _: "").found == "comes from registry.terraform.io"
    mirrored = replace(bare, mirror=tmp_path, provider="5.100.0")
    assert doctor.judge_provider(mirrored, lambda _: "no answer").found == f"5.100.0 in {tmp_path}"


def test_a_broken_project_points_to_check(context: Context) -> None:
    (context.project / "mayfly.yaml").write_text("name: 3\n")
    finding = doctor.check_project(context)
    assert finding.verdict is Verdict.MISSING
    assert "mayfly check" in finding.way_out


def test_a_home_in_use_is_told(context: Context) -> None:
    assert doctor.check_home(context).found.endswith("nothing is running")
    with context.home.locked():
        assert doctor.check_home(context).found.endswith("a platform is running")


def test_too_little_disk_is_a_warning(context: Context) -> None:
    finding = doctor.check_disk(context, needed=10**18)
    assert finding.verdict is Verdict.WARNING
    assert "make clean" in finding.way_out


def test_all_of_it(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["--project", str(context.project), "doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert [f["name"] for f in findings][:3] == ["Python", "agent", "Terraform"]
    missing = any(f["verdict"] == "missing" for f in findings)
    assert code == (9 if missing else 0)
    assert all(f["way_out"] for f in findings if f["verdict"] != "ok")
