"""The history of an analysis, from a real Git repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.version import analysis_version
from runner.history import list_versions
from state.errors import UsageError
from tests.compiler.projects import MINIMAL, Project, small_project

Commit = Callable[[str], str]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that is a folder of a repository, as many are."""
    return small_project(tmp_path / "repository" / "analyses of ours")


@pytest.fixture
def commit(project: Project) -> Commit:
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada \u00e9"),
        **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@lab1.example"),
        **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-11-22T10:00:00+00:00"),
    }

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=project.folder.parent, env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def make(subject: str) -> str:
        git("add", "--all")
        git("commit", "--quiet", "--message", subject)
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    return make


def test_each_version_has_the_commit_that_made_it(project: Project, commit: Commit) -> None:
    first = commit("First")
    one = analysis_version(load_platform(project.folder), "tiny")
    project.add_blueprint("tiny", MINIMAL.replace("The smallest", "Another title for the smallest"))
    commit("Only words")
    project.write("notes.txt", "nothing to do with it")
    commit("Elsewhere")
    project.write("blueprints/tiny/environment/run.py", "print('changed')\n")
    second = commit('Change the "entry point"; $(id)')
    two = analysis_version(load_platform(project.folder), "tiny")
    project.write("modules/job/main.tf", "# a module of our own\n")
    third = commit("Own module")
    three = analysis_version(load_platform(project.folder), "tiny")
    found = list_versions(load_platform(project.folder), "tiny")
    assert [(v.version, v.commit) for v in found] == [(three, third), (two, second), (one, first)]
    assert [v.subject for v in found] == ["Own module", 'Change the "entry point"; $(id)', "First"]
    assert found[0].author == "Ada \u00e9"
    assert found[0].when.isoformat() == "2026-11-22T10:00:00+00:00"
    assert len({one, two, three}) == 3


def test_what_could_not_be_read_then_has_no_version(project: Project, commit: Commit) -> None:
    project.write("blueprints/tiny/blueprint.yaml", "id: tiny\ntitle: [\n")
    broken = commit("Broken YAML")
    project.write("blueprints/tiny/blueprint.yaml", MINIMAL + "unknown: 1\n")
    other = commit("Unknown key")
    project.write("blueprints/tiny/blueprint.yaml", MINIMAL)
    right = commit("Mended")
    found = list_versions(load_platform(project.folder), "tiny")
    assert [v.commit for v in found] == [right, other, broken]
    assert [bool(v.version) for v in found] == [True, False, False]


def test_a_rename_goes_on_with_the_same_version_under_another_name(project: Project, commit: Commit) -> None:
    commit("First")
    shutil.move(project.folder / "blueprints/tiny", project.folder / "blueprints/small")
    project.add_blueprint("small", MINIMAL.replace("tiny", "small") + "renamed_from: tiny\n")
    project.write("users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [small]\n")
    commit("Rename")
    found = list_versions(load_platform(project.folder), "small")
    assert [v.id for v in found] == ["small", "tiny"]
    assert found[0].version == found[1].version


def test_only_so_many_commits_are_looked_at(project: Project, commit: Commit) -> None:
    for number in range(3):
        project.write("blueprints/tiny/environment/run.py", f"print({number})\n")
        commit(str(number))
    assert [v.subject for v in list_versions(load_platform(project.folder), "tiny", most=2)] == ["2", "1"]


def test_nothing_committed_and_no_repository(project: Project, commit: Commit, tmp_path: Path) -> None:
    project.write("other.txt", "")
    shutil.move(project.folder / "blueprints", tmp_path / "aside")
    commit("Without the blueprint")
    shutil.move(tmp_path / "aside", project.folder / "blueprints")
    assert list_versions(load_platform(project.folder), "tiny") == []
    shutil.rmtree(project.folder.parent / ".git")
    with pytest.raises(UsageError, match=r"has no history: not a git repository.*Keep the project in a Git repository"):
        list_versions(load_platform(project.folder), "tiny")
