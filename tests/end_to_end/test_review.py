"""Plans, saved plans and broken states on a platform that runs: real Terraform, real git, and the real command line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compiler.projects import REPOSITORY
from tests.end_to_end.living import Living
from tests.git import git

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]

ROOT = "analyses/pca"
BLUEPRINT = (REPOSITORY / "blueprints/pca/blueprint.yaml").read_text(encoding="utf-8")
PROFILE = (REPOSITORY / "users/lab2.yaml").read_text(encoding="utf-8")
PRECIOUS = "lab2/results/x"


class Example:
    """The analysis and a group of the example platform, on the living one and under git."""

    def __init__(self, living: Living) -> None:
        self.living = living
        self.state = living.home / "state" / f"{ROOT}.tfstate"
        self.saved = living.project / "saved"
        self.profile = living.project / "users" / "lab2.yaml"

    def write(self, text: str = BLUEPRINT, *, name: str = "pca") -> None:
        """Write the analysis, with an environment that needs nothing, and let the group opt in."""
        recipe = self.folder(name) / "environment"
        recipe.mkdir(parents=True, exist_ok=True)
        (recipe / "requirements.lock").write_text("")
        (recipe / "run.py").write_text("print('never')\n")
        (self.folder(name) / "blueprint.yaml").write_text(text)
        self.profile.write_text(f"{PROFILE}analyses: [{name}]\n")

    def folder(self, name: str) -> Path:
        return self.living.project / "blueprints" / name

    def remove(self) -> None:
        """Remove the analysis, whatever it is called."""
        for name in ("pca", "components"):
            shutil.rmtree(self.folder(name), ignore_errors=True)
        self.profile.write_text(PROFILE)

    def git(self, *arguments: str) -> None:
        git(self.living.project, *arguments)

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

    def tags(self, s3: Any) -> dict[str, str]:
        return {one["Key"]: one["Value"] for one in s3.get_bucket_tagging(Bucket="e2e-pca")["TagSet"]}

    def apply_saved(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("apply", "--saved", self.saved, *arguments)


def edited(line: str) -> str:
    """Return the blueprint with another value in one line."""
    text, count = re.subn(rf"(?m)^(\s*){line.partition(':')[0]}: .*$", rf"\1{line}", BLUEPRINT, count=1)
    assert count == 1
    return text


@pytest.fixture(scope="module")
def example(living: Living) -> Iterator[Example]:
    made = Example(living)
    (living.project / ".gitignore").write_text(".mayfly/\nbuild/\nsaved/\n*.log\n")
    made.write()
    done = made.run("apply")
    assert done.returncode == 0, done.stderr
    made.git("init", "--quiet", ".")
    made.git("add", "-A")
    made.git("commit", "--quiet", "-m", "one")
    yield made
    made.remove()
    made.profile.unlink()


def test_a_change_of_limits_touches_one_root_and_exactly_the_approved_plan_is_applied(example: Example) -> None:
    example.write(edited("duration: 9"))
    said = example.plan("--changed-since", "HEAD", "--save", example.saved, "--policy")
    assert [one["root"] for one in said["roots"]] == [ROOT]
    assert said["verdict"] == "CHANGES"
    assert said["blueprints"]["pca"][0] == "limits.duration was 10 min and is 9 min."
    assert {change["action"] for change in said["roots"][0]["changes"]} == {"update"}
    assert said["findings"] == []

    other = example.apply_saved("--approved", "sha256:0")
    assert other.returncode == 8
    assert "Nothing was applied" in other.stderr
    done = example.apply_saved("--approved", said["approval"])
    assert done.returncode == 0, done.stderr
    assert f"{ROOT}: 0 added" in done.stdout
    again = example.apply_saved("--approved", said["approval"])
    assert f"{ROOT}: applied by an earlier run" in again.stdout


def test_a_plan_whose_state_or_code_has_changed_since_is_refused(example: Example) -> None:
    example.write(edited("duration: 12"))
    example.plan(ROOT, "--save", example.saved)
    assert example.run("apply", ROOT).returncode == 0
    stale = example.apply_saved()
    assert stale.returncode == 8
    assert "stale: their state has changed since" in stale.stderr

    example.write(edited("duration: 11"))
    stale = example.apply_saved()
    assert stale.returncode == 8
    assert "stale: the YAML or the modules have changed since" in stale.stderr


def test_states_that_cannot_be_used_are_explained(example: Example) -> None:
    whole = example.state.read_text()
    newer = json.loads(whole)
    newer["version"] = 99
    example.state.write_text(json.dumps(newer))
    (plan,) = example.plan(ROOT, code=5)["roots"]
    assert plan["error"].startswith("Its state was written by a newer Terraform")

    example.state.write_text(whole)
    with example.state.open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        (plan,) = example.plan(ROOT, code=5)["roots"]
        assert "state is locked" in plan["error"]
        assert example.state.read_text() == whole

    aside = example.state.with_suffix(".aside")
    os.replace(example.state, aside)  # noqa: PTH105
    try:
        (plan,) = example.plan(ROOT)["roots"]
        assert plan["note"].startswith("Its state is missing")
    finally:
        os.replace(aside, example.state)  # noqa: PTH105


def test_what_was_changed_by_hand_is_drift_until_it_is_put_back(example: Example) -> None:
    example.write()
    assert example.run("apply", ROOT).returncode == 0
    s3 = example.living.client("s3")
    tags = example.tags(s3)
    changed = [{"Key": key, "Value": value} for key, value in {**tags, "mayfly:managed-by": "me"}.items()]
    s3.put_bucket_tagging(Bucket="e2e-pca", Tagging={"TagSet": changed})
    found = example.run("drift", ROOT)
    assert found.returncode == 1, found.stderr
    assert f"{ROOT}: module.analysis.aws_s3_bucket.data was changed (tags" in found.stdout
    assert "ACCESS" not in found.stdout

    assert f"{ROOT}: 0 added, 1 changed" in example.run("apply", ROOT).stdout
    assert example.tags(s3) == tags
    assert example.run("drift", ROOT).returncode == 0


def test_a_renamed_analysis_changes_nothing_and_a_removed_one_keeps_its_data(example: Example) -> None:
    s3 = example.living.client("s3")
    s3.put_object(Bucket="e2e-pca", Key=PRECIOUS, Body=b"precious")
    example.write()
    assert example.run("apply").returncode == 0

    example.remove()
    example.write(edited("id: components") + "renamed_from: pca\n", name="components")
    said = example.plan(ROOT, "groups/lab2", "--changed-since", "HEAD")
    assert [(one["root"], one["changes"]) for one in said["roots"]] == [(ROOT, [])]
    assert said["blueprints"]["pca"] == ["is renamed to components; its bucket and its data move with it."]
    said = example.plan(ROOT, "groups/lab2")
    assert [(one["root"], one["changes"]) for one in said["roots"]] == [(ROOT, []), ("groups/lab2", [])]
    assert said["verdict"] == "NOTHING"
    assert example.run("apply").returncode == 0

    example.remove()
    said = example.plan("--changed-since", "HEAD")
    assert {one["root"] for one in said["roots"]} == {ROOT, "groups/lab2"}
    assert said["data_loss"] == []
    assert "Its bucket e2e-pca and all data in it stay." in said["blueprints"]["pca"][0]
    assert said["removed"] == [{"root": ROOT, "keeps_data": True}]
    done = example.run("apply")
    assert done.returncode == 0, done.stderr
    assert f"{ROOT}: the blueprint of 'pca' is gone: its bucket stays, with all data" in done.stderr
    assert s3.get_object(Bucket="e2e-pca", Key=PRECIOUS)["Body"].read() == b"precious"
    assert s3.get_bucket_versioning(Bucket="e2e-pca")["Status"] == "Enabled"
    assert json.loads(example.state.read_text())["resources"] == []
    assert ROOT not in [one["root"] for one in example.plan()["roots"]]


def test_an_unknown_revision_is_a_sentence(example: Example) -> None:
    done = example.run("plan", "--changed-since", "nowhere")
    assert done.returncode == 2
    assert "git knows no revision nowhere" in done.stderr
    assert "Traceback" not in done.stderr
