"""Plans, saved plans and broken states on a platform that runs: real Terraform, real git, and the real command line."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.living import Living

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]

ROOT = "analyses/slate"
BLUEPRINT = """\
id: slate
title: Only planned, never run
stage: public
resources: [{instance_type: t3.small}]
limits: {duration: 5, cost: 5}
"""


class Slate:
    """An analysis of its own on the living platform, under git."""

    def __init__(self, living: Living) -> None:
        self.living = living
        self.folder = living.project / "blueprints" / "slate"
        self.state = living.home / "state" / f"{ROOT}.tfstate"
        self.saved = living.project / "saved"

    def write(self, text: str) -> None:
        recipe = self.folder / "environment"
        recipe.mkdir(parents=True, exist_ok=True)
        (recipe / "requirements.lock").write_text("")
        (recipe / "run.py").write_text("print('never')\n")
        (self.folder / "blueprint.yaml").write_text(text)

    def git(self, *arguments: str) -> None:
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *name, *arguments], cwd=self.living.project, check=True, capture_output=True)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mayfly.cli.main", *map(str, arguments)],
            cwd=self.living.project,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def plan(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        done = self.run("plan", *arguments, "--json")
        assert done.returncode == code, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def apply_saved(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("apply", "--saved", self.saved, *arguments)


@pytest.fixture(scope="module")
def slate(living: Living) -> Iterator[Slate]:
    made = Slate(living)
    (living.project / ".gitignore").write_text(".mayfly/\nbuild/\nsaved/\n*.log\n")
    made.write(BLUEPRINT)
    done = made.run("apply", ROOT)
    assert done.returncode == 0, done.stderr
    made.git("init", "--quiet", ".")
    made.git("add", "-A")
    made.git("commit", "--quiet", "-m", "one")
    yield made
    for file in made.folder.rglob("*"):
        if file.is_file():
            file.unlink()
    for folder in (made.folder / "environment", made.folder):
        folder.rmdir()


def test_a_change_of_limits_touches_one_root_and_exactly_the_approved_plan_is_applied(slate: Slate) -> None:
    slate.write(BLUEPRINT.replace("duration: 5", "duration: 9"))
    said = slate.plan("--changed-since", "HEAD", "--save", slate.saved, "--policy")
    assert [one["root"] for one in said["roots"]] == [ROOT]
    assert said["verdict"] == "CHANGES"
    assert said["blueprints"]["slate"][0] == "limits.duration was 5 min and is 9 min."
    assert {change["action"] for change in said["roots"][0]["changes"]} == {"update"}
    assert said["findings"] == []

    other = slate.apply_saved("--approved", "sha256:0")
    assert other.returncode == 8
    assert "Nothing was applied" in other.stderr
    done = slate.apply_saved("--approved", said["approval"])
    assert done.returncode == 0, done.stderr
    assert f"{ROOT}: 0 added" in done.stdout
    again = slate.apply_saved("--approved", said["approval"])
    assert f"{ROOT}: applied by an earlier run" in again.stdout


def test_a_plan_whose_state_or_code_has_changed_since_is_refused(slate: Slate) -> None:
    slate.write(BLUEPRINT.replace("duration: 5", "duration: 10"))
    slate.plan(ROOT, "--save", slate.saved)
    assert slate.run("apply", ROOT).returncode == 0
    stale = slate.apply_saved()
    assert stale.returncode == 8
    assert "stale: their state has changed since" in stale.stderr

    slate.write(BLUEPRINT.replace("duration: 5", "duration: 11"))
    stale = slate.apply_saved()
    assert stale.returncode == 8
    assert "stale: the YAML or the modules have changed since" in stale.stderr


def test_states_that_cannot_be_used_are_explained(slate: Slate) -> None:
    whole = slate.state.read_text()
    newer = json.loads(whole)
    newer["version"] = 99
    slate.state.write_text(json.dumps(newer))
    (plan,) = slate.plan(ROOT, code=5)["roots"]
    assert plan["error"].startswith("Its state was written by a newer Terraform")

    slate.state.write_text(whole)
    with slate.state.open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        (plan,) = slate.plan(ROOT, code=5)["roots"]
        assert "state is locked" in plan["error"]
        assert slate.state.read_text() == whole

    aside = slate.state.with_suffix(".aside")
    os.replace(slate.state, aside)  # noqa: PTH105
    try:
        (plan,) = slate.plan(ROOT)["roots"]
        assert plan["note"].startswith("Its state is missing")
    finally:
        os.replace(aside, slate.state)  # noqa: PTH105


def test_a_removed_blueprint_is_told_to_keep_its_data(slate: Slate) -> None:
    s3 = slate.living.client("s3")
    s3.put_object(Bucket="e2e-slate", Key="lab1/results/x", Body=b"precious")
    kept = slate.folder.rename(slate.living.project / "aside")
    try:
        said = slate.plan("--changed-since", "HEAD")
        assert [one["root"] for one in said["roots"]] == [ROOT]
        assert said["data_loss"] == []
        assert {change["action"] for change in said["roots"][0]["changes"]} == {"forget"}
        assert "Its bucket e2e-slate and all data in it stay." in said["blueprints"]["slate"][0]
    finally:
        kept.rename(slate.folder)
    assert s3.get_object(Bucket="e2e-slate", Key="lab1/results/x")["Body"].read() == b"precious"


def test_an_unknown_revision_is_a_sentence(slate: Slate) -> None:
    done = slate.run("plan", "--changed-since", "nowhere")
    assert done.returncode == 2
    assert "git knows no revision nowhere" in done.stderr
    assert "Traceback" not in done.stderr
