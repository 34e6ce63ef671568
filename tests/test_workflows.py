"""The workflows keep what they promise: pinned actions, least permissions, no code of strangers with rights."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parent.parent
FOLDER = PROJECT / ".github" / "workflows"
WORKFLOWS = sorted(path.stem for path in FOLDER.glob("*.yml"))


def read(name: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return loaded


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in read(name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_their_commit(name: str) -> None:
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step["uses"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_of_a_pull_request_is_written_into_a_shell_line(name: str) -> None:
    for step in steps(name):
        assert "${{" not in step.get("run", ""), step["run"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_permissions_are_given_one_by_one(name: str) -> None:
    granted = read(name)["permissions"]
    writes = {scope for scope, level in granted.items() if level == "write"}
    allowed = {"plan-state": {"id-token"}, "comment": {"pull-requests", "security-events"}, "apply": {"id-token"}}
    allowed["drift"] = {"id-token", "issues"}
    assert writes == allowed.get(name, set())


@pytest.mark.parametrize("name", ["plan", "test"])
def test_what_runs_for_forks_has_no_secrets(name: str) -> None:
    text = (FOLDER / f"{name}.yml").read_text()
    assert "secrets." not in text
    assert "configure-aws-credentials" not in text


def test_plans_for_forks_are_made_without_credentials() -> None:
    assert "--secretless" in (FOLDER / "plan.yml").read_text()
    assert "pull_request_target" not in "".join(path.read_text() for path in FOLDER.glob("*.yml"))


def test_changes_are_tested_on_every_python_that_is_promised() -> None:
    promised = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = map(int, re.findall(r"3\.(\d+)", promised))
    matrix = read("test")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(low, high)]
    assert steps("test")[-1]["run"] == ".ci/run"


def test_what_may_write_comments_runs_no_code_of_the_pull_request() -> None:
    assert not any("checkout" in step.get("uses", "") for step in steps("comment"))


def test_only_the_approved_plans_are_applied() -> None:
    (apply,) = (step for step in steps("apply") if step.get("name") == "apply")
    assert apply["run"] == '.venv/bin/mayfly apply --saved plans --approved "$APPROVED" --yes'
    assert read("apply")["jobs"]["apply"]["environment"] == "production"
