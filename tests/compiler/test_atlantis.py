"""atlantis.yaml names each root with the files that decide it; the embedded cloud has none."""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler.load import load_platform
from compiler.platform import live_roots, render_platform
from tests.compiler.projects import MINIMAL, Project, aws_project


@pytest.fixture
def aws(tmp_path: Path) -> Project:
    return aws_project(tmp_path / "aws")


def rendered(project: Project) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(render_platform(load_platform(project.folder))["atlantis.yaml"])
    return loaded


def test_every_root_that_makes_something_is_a_project(aws: Project) -> None:
    aws.add_blueprint("later", MINIMAL.replace("tiny", "later").replace("public", "draft"))
    said = rendered(aws)
    assert said["version"] == 3
    projects = {one["name"]: one for one in said["projects"]}
    assert list(projects) == list(live_roots(load_platform(aws.folder)))
    renamed = projects["analyses/first-name"]
    assert renamed["dir"] == "build/analyses/first-name"
    assert "../../../blueprints/renamed/**" in renamed["autoplan"]["when_modified"]
    assert (projects["base"]["execution_order_group"], renamed["execution_order_group"]) == (0, 1)
    assert {one["workflow"] for one in projects.values()} == {"mayfly"}


def test_the_embedded_cloud_has_none(example: Project) -> None:
    assert "atlantis.yaml" not in render_platform(load_platform(example.folder))


def matches(one: dict[str, Any], path: str) -> bool:
    """Whether a project is planned when a file changes; patterns are seen from the project's folder."""
    for pattern in one["autoplan"]["when_modified"]:
        whole = posixpath.normpath(posixpath.join(one["dir"], pattern))
        parts = (r".*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in whole.split("/"))
        if re.fullmatch("/".join(parts), path):
            return True
    return False


@pytest.mark.parametrize(
    ("path", "old", "new", "roots"),
    [
        ("mayfly.yaml", "4711", "4712", "base analyses/first-name groups/lab1"),
        ("users/lab1.yaml", "retention_days: 200", "retention_days: 100", "analyses/going analyses/a-while"),
        ("users/lab1.yaml", "lab1-own-data", "lab1-other-data", "base groups/lab1"),
        ("users/lab1.yaml", "collaborators: [lab2]", "collaborators: []", "groups/lab2"),
        ("users/lab1.yaml", "amount: 50", "amount: 60", "groups/lab1"),
        ("blueprints/renamed/blueprint.yaml", "public", "draft", "groups/lab1 groups/lab2"),
        ("blueprints/going/blueprint.yaml", "purge: true", "purge: false", "analyses/going"),
        ("blueprints/going/environment/run.py", "hello", "good bye", "analyses/going"),
        ("modules/base/main.tf", "base", "other", "base"),
        ("modules/job/main.tf", "job", "other", "analyses/going"),
        (".terraform.lock.hcl", "", "# a lock", "base analyses/going groups/lab1"),
    ],
)
def test_a_root_that_an_edit_changes_is_planned(aws: Project, path: str, old: str, new: str, roots: str) -> None:
    before = render_platform(load_platform(aws.folder))
    edited = aws_project(aws.folder.parent / "edited")
    file = edited.folder / path
    text = file.read_text() if file.exists() else ""
    assert old in text
    edited.write(path, text.replace(old, new) if old else new)
    after = render_platform(load_platform(edited.folder))
    projects = {one["name"]: one for one in rendered(edited)["projects"]}
    changed = {
        name
        for name in projects
        for file_path in before.keys() | after.keys()
        if file_path.startswith(f"{name}/") and before.get(file_path) != after.get(file_path)
    }
    assert {root.replace("a-while", "kept-for-a-while") for root in roots.split()} <= changed
    assert [name for name in sorted(changed) if not matches(projects[name], path)] == []


def test_an_analysis_is_not_planned_for_another_ones_blueprint(aws: Project) -> None:
    projects = {one["name"]: one for one in rendered(aws)["projects"]}
    planned = {name for name, one in projects.items() if matches(one, "blueprints/going/environment/run.py")}
    assert planned == {"analyses/going"}


STUB = """\
#!/bin/sh
echo "mayfly $*" >>"$CALLS"
[ "$1" = plan ] || exit 0
mkdir -p "$5/analyses"
[ -z "$PLANS" ] || echo planned >"$5/analyses/going.tfplan"
exit "$CODE"
"""


class TestSteps:
    """What Atlantis runs in the folder of a root, with a stand-in for `mayfly`."""

    @pytest.fixture
    def root(self, aws: Project, tmp_path: Path) -> Path:
        root = aws.folder / "build/analyses/going"
        root.mkdir(parents=True)
        subprocess.run(["git", "init", "--quiet", aws.folder], check=True)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/mayfly").write_text(STUB)
        (tmp_path / "bin/mayfly").chmod(0o755)
        return root

    def run(self, aws: Project, root: Path, stage: str, *, code: int = 0, plans: bool = True) -> tuple[int, str, str]:
        (step,) = rendered(aws)["workflows"]["mayfly"][stage]["steps"]
        top = aws.folder.parent
        environment = {
            "PATH": f"{top / 'bin'}:{os.environ['PATH']}",
            "PROJECT_NAME": "analyses/going",
            "PLANFILE": str(root / "plan.tfplan"),
            "CALLS": str(top / "calls"),
            "CODE": str(code),
            "PLANS": "yes" if plans else "",
        }
        done = subprocess.run(
            ["sh", "-c", step["run"]], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        calls = (top / "calls").read_text()
        (top / "calls").unlink()
        return done.returncode, done.stdout, calls.replace(str(aws.folder), "")

    def test_the_plan_that_was_reviewed_is_the_one_that_is_applied(self, aws: Project, root: Path) -> None:
        code, _, calls = self.run(aws, root, "plan")
        kept = "../../../.git/mayfly-plans/analyses/going"
        assert (code, calls) == (0, f"mayfly plan analyses/going --policy --save {kept}\n")
        assert (root / "plan.tfplan").read_text() == "planned\n"
        assert [path.name for path in root.rglob("*.tfplan")] == ["plan.tfplan"]
        assert self.run(aws, root, "apply") == (0, "", f"mayfly apply --saved {kept} --yes\n")
        assert not (root / "plan.tfplan").exists()

    def test_a_broken_rule_leaves_nothing_to_apply(self, aws: Project, root: Path) -> None:
        self.run(aws, root, "plan")
        assert self.run(aws, root, "plan", code=1)[0] == 1
        assert not (root / "plan.tfplan").exists()

    def test_atlantis_is_told_when_there_is_nothing_to_do(self, aws: Project, root: Path) -> None:
        code, said, _ = self.run(aws, root, "plan", plans=False)
        assert (code, said) == (0, "No changes. Your infrastructure matches the configuration.\n")
        assert not (root / "plan.tfplan").exists()
