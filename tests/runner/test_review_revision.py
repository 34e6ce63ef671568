"""Another revision is compiled from git, and only what differs from it is planned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.model import Retired
from compiler.platform import render_platform, roots
from compiler.review.words import describe_blueprints
from runner.review.planning import LANE_BYTES, OWN_BYTES, count_lanes, explain
from runner.review.revision import Revision, affected_roots, read_revision, removed_roots
from state.errors import TerraformError, UsageError
from tests.compiler.projects import MINIMAL, REPOSITORY, Project, example_project
from tests.git import git


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    """Return the example project in a sub-folder of a repository."""
    made = example_project(tmp_path / "repository" / "platform")
    git(made.folder.parent, "init", "--quiet", ".")
    git(made.folder.parent, "add", "-A")
    git(made.folder.parent, "commit", "--quiet", "-m", "one")
    return made


def compare(project: Project, tmp_path: Path, name: str = "HEAD") -> tuple[list[str], list[str], Revision]:
    before = read_revision(project.folder, name, tmp_path / "before")
    platform = load_platform(project.folder)
    return affected_roots(platform, render_platform(platform), before), removed_roots(platform, before), before


def edit(project: Project, file: str, old: str, new: str) -> None:
    text = (project.folder / file).read_text()
    assert old in text
    project.write(file, text.replace(old, new))


def test_nothing_changed_affects_nothing(repository: Project, tmp_path: Path) -> None:
    affected, removed, before = compare(repository, tmp_path)
    assert (affected, removed, before.note) == ([], [], "")
    assert len(before.commit) == 40


def test_a_change_of_limits_affects_one_root(repository: Project, tmp_path: Path) -> None:
    edit(repository, "blueprints/pca/blueprint.yaml", "duration: 10", "duration: 11")
    assert compare(repository, tmp_path)[0] == ["analyses/pca"]


def test_a_change_of_a_module_affects_all_its_roots(repository: Project, tmp_path: Path) -> None:
    repository.write("modules/group/main.tf", "# changed\n")
    assert compare(repository, tmp_path)[0] == ["groups/lab1", "groups/lab2"]


def test_a_provider_lock_belongs_to_a_revision(repository: Project, tmp_path: Path) -> None:
    lock = repository.write(".terraform.lock.hcl", "# the lock\n")
    git(repository.folder, "add", "-A")
    git(repository.folder, "commit", "--quiet", "-m", "lock")
    affected, _, before = compare(repository, tmp_path)
    assert affected == []
    assert before.platform is not None
    assert describe_blueprints(before.platform, load_platform(repository.folder)) == {}
    lock.write_text("# another\n")
    assert compare(repository, tmp_path / "again")[0] == list(roots(load_platform(repository.folder)))


def test_a_draft_that_is_published_is_new(repository: Project, tmp_path: Path) -> None:
    repository.add_blueprint("tiny", MINIMAL.replace("public", "draft"))
    git(repository.folder, "add", "-A")
    git(repository.folder, "commit", "--quiet", "-m", "draft")
    repository.add_blueprint("tiny", MINIMAL)
    affected, _, before = compare(repository, tmp_path)
    assert affected == ["analyses/tiny"]
    assert not [path for path in before.files if path.startswith("analyses/tiny/")]
    shutil.rmtree(repository.folder / "blueprints/tiny")
    assert compare(repository, tmp_path / "again")[1] == []


ASK = """
import json, sys
from pathlib import Path
from compiler.load import load_platform
from compiler.platform import render_platform
from compiler.review.words import describe_blueprints
from runner.review.revision import affected_roots, read_revision
project = Path.cwd()
before, platform = read_revision(project, "HEAD", Path(sys.argv[1])), load_platform(project)
affected = affected_roots(platform, render_platform(platform), before)
print(json.dumps([affected, describe_blueprints(before.platform, platform), before.note]))
"""


class TestMayflysOwnProject:
    """A project that carries the compiler and the agent that run, as Mayfly's own repository does."""

    @pytest.fixture
    def own(self, repository: Project) -> Project:
        for package in ("compiler", "runner", "state"):
            shutil.copytree(
                REPOSITORY / package, repository.folder / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        git(repository.folder, "add", "-A")
        git(repository.folder, "commit", "--quiet", "-m", "all of it")
        return repository

    def compare(self, own: Project, tmp_path: Path) -> tuple[list[str], dict[str, list[str]], str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(own.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, tmp_path / "before"],
            cwd=own.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        affected, said, note = json.loads(done.stdout)
        return affected, said, note

    def test_nothing_changed_affects_nothing(self, own: Project, tmp_path: Path) -> None:
        assert self.compare(own, tmp_path) == ([], {}, "")

    def test_another_agent_is_another_version_of_every_analysis(self, own: Project, tmp_path: Path) -> None:
        agent = own.folder / "runner/iae/task.py"
        agent.write_text(agent.read_text() + "# another\n")
        affected, said, note = self.compare(own, tmp_path)
        assert (affected, note) == (["analyses/pca"], "")
        assert said["pca"][0].startswith("Analysis version ")

    @pytest.mark.parametrize("path", ["compiler/templates/bootstrap.sh", "compiler/data/prices.json", "state/keys.py"])
    def test_another_compiler_affects_all(self, own: Project, tmp_path: Path, path: str) -> None:
        file = own.folder / path
        file.write_text(file.read_text() + "\n")
        affected, _, note = self.compare(own, tmp_path)
        assert affected == ["base", "analyses/pca", "groups/lab1", "groups/lab2"]
        assert note.startswith("Mayfly's own compiler has changed since HEAD")


def test_what_is_described_no_more_is_told(repository: Project, tmp_path: Path) -> None:
    (repository.folder / "users/lab2.yaml").unlink()
    affected, removed, before = compare(repository, tmp_path)
    assert removed == ["groups/lab2"]
    assert "groups/lab2" not in affected
    applied = (Retired(root="groups/lab2", purge=False),)
    platform = replace(load_platform(repository.folder), retired=applied)
    assert removed_roots(platform, before) == ["groups/lab2"]
    assert affected_roots(platform, render_platform(platform), before) == ["groups/lab2"]


def test_a_revision_that_does_not_compile_affects_all(repository: Project, tmp_path: Path) -> None:
    good = (repository.folder / "users/lab1.yaml").read_text()
    repository.write("users/lab1.yaml", "nonsense\n")
    git(repository.folder, "commit", "--quiet", "-am", "broken")
    repository.write("users/lab1.yaml", good)
    affected, _, before = compare(repository, tmp_path)
    assert affected == list(roots(load_platform(repository.folder)))
    assert before.platform is None
    assert "cannot be compiled (users/lab1.yaml" in before.note


def test_links_of_a_revision_are_left_out(repository: Project, tmp_path: Path) -> None:
    (repository.folder / "blueprints/pca/environment/link").symlink_to("/etc/passwd")
    git(repository.folder, "add", "-A")
    git(repository.folder, "commit", "--quiet", "-m", "link")
    (repository.folder / "blueprints/pca/environment/link").unlink()
    compare(repository, tmp_path)
    assert not list((tmp_path / "before").rglob("link"))


@pytest.mark.parametrize("name", ["nowhere", "--output=x", "HEAD:mayfly.yaml", ""])
def test_no_such_revision_is_a_sentence(repository: Project, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="git knows no revision"):
        read_revision(repository.folder, name, tmp_path / "before")


def test_no_repository_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    project = example_project(tmp_path / "bare")
    with pytest.raises(UsageError, match="HEAD"):
        read_revision(project.folder, "HEAD", tmp_path / "before")


def test_lanes_keep_within_memory_and_roots() -> None:
    assert count_lanes(100, 40) == 1
    assert count_lanes(100 * LANE_BYTES, 1) == 1
    assert count_lanes(2 * LANE_BYTES + OWN_BYTES, 40) == 2
    assert count_lanes(2 * LANE_BYTES, 40) == 1


def test_a_newer_state_is_explained() -> None:
    error = TerraformError("x", command="plan", diagnostics=["Unsupported state file format: version 5"])
    assert explain(error).startswith("Its state was written by a newer Terraform (Unsupported state file format")
    locked = TerraformError("x", command="plan", diagnostics=["Error acquiring the state lock: no info"])
    assert explain(locked).startswith("Its state is locked")
    assert explain(TerraformError("other")) == "other"
