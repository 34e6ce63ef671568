"""Real Terraform plans without an account, a state or a network, and says what changes between two versions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.platform import render_platform
from compiler.review.rules import check_rules
from compiler.review.values import Action
from runner.review.secretless import plan_without_secrets, secretless_terraform
from runner.slots import Slots
from runner.toolchain import find_toolchain
from tests.compiler.projects import REPOSITORY, example_project

pytestmark = [pytest.mark.slow, pytest.mark.terraform]


def test_a_strangers_change_is_planned_without_secrets(tmp_path: Path) -> None:
    project = example_project(tmp_path / "example")
    shutil.rmtree(project.folder / "modules")
    shutil.copytree(REPOSITORY / "modules", project.folder / "modules")
    before = render_platform(load_platform(project.folder))
    file = project.folder / "users/lab2.yaml"
    project.write("users/lab2.yaml", file.read_text() + "analyses: [pca]\n")
    platform = load_platform(project.folder)
    toolchain = find_toolchain(tmp_path / "terraform", os.environ)
    told: list[str] = []

    (plan,) = plan_without_secrets(
        secretless_terraform(toolchain, "us-east-1", Slots(tmp_path / "slots", 3)),
        ["groups/lab2"],
        render_platform(platform),
        before,
        work=tmp_path / "work",
        on_result=lambda one: told.append(one.root),
    )

    assert plan.error == ""
    assert sorted(told) == ["before/groups/lab2", "groups/lab2"]
    assert {change.action for change in plan.effective} <= {Action.CREATE, Action.UPDATE}
    documents = " ".join(str(change.after.get("policy")) for change in plan.effective)
    assert "demo-pca/lab2/results/" in documents
    assert [one for one in check_rules([plan], platform) if one.severity.value == "error"] == []
