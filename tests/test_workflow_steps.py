"""The shell of the workflows: each step is run as it stands there, with stand-ins for `gh` and `mayfly`."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compiler.projects import MINIMAL, small_project
from tests.git import git

PROJECT = Path(__file__).parent.parent
MARK = "<!-- mayfly-plan -->"
HASH = "sha256:" + "a" * 64
STAND_IN = f"""#!{sys.executable}
import json, pathlib, subprocess, sys

words = sys.argv[1:]
folder = pathlib.Path(__file__).resolve().parent
asked = {{"words": words}}
if "--input" in words:
    asked["input"] = json.loads(pathlib.Path(words[words.index("--input") + 1]).read_text())
if "--body-file" in words:
    asked["body"] = pathlib.Path(words[words.index("--body-file") + 1]).read_text()
with open(folder / "asked.jsonl", "a") as log:
    log.write(json.dumps(asked) + "\\n")
line = " ".join(words)
for part, said, code in json.loads((folder / "answers.json").read_text()):
    if part in line:
        if isinstance(said, str):
            sys.stdout.write(said)
        else:
            program = words[words.index("--jq") + 1] if "--jq" in words else "."
            subprocess.run(["jq", "-r", program], input=json.dumps(said), text=True, check=True)
        if code:
            print("something went wrong", file=sys.stderr)
        sys.exit(code)
"""

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not on this machine; GitHub's have it")


@dataclass(kw_only=True)
class Runner:
    """A folder as the steps of one job share it, with `gh` and `mayfly` that say what a test wants."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    def answer(self, program: str, *answers: tuple[str, Any, int]) -> None:
        """Let a program say things: to a line that holds the first, the second, and end with the third."""
        place = self.folder / (".venv/bin" if program == "mayfly" else "bin")
        place.mkdir(parents=True, exist_ok=True)
        (place / program).write_text(STAND_IN)
        (place / program).chmod(0o755)
        (place / "answers.json").write_text(json.dumps(answers))

    def asked(self, program: str) -> list[dict[str, Any]]:
        log = self.folder / (".venv/bin" if program == "mayfly" else "bin") / "asked.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def lines(self, program: str) -> list[str]:
        return [" ".join(one["words"]) for one in self.asked(program)]

    def run(self, workflow: str, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one step the way GitHub does."""
        text = (PROJECT / ".github" / "workflows" / f"{workflow}.yml").read_text()
        (job,) = yaml.safe_load(text)["jobs"].values()
        (step,) = (one for one in job["steps"] if one.get("name") == name)
        output = self.folder / "outputs"
        output.touch()
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
                "GITHUB_REPOSITORY": "lab/platform",
                "GITHUB_SHA": "merged",
                "GH_REPO": "lab/platform",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(folder=tmp_path)
    shutil.copytree(PROJECT / ".ci", tmp_path / ".ci")
    made.answer("gh")
    made.answer("mayfly")
    return made


PLANS = [("plan", "check, and plan without credentials"), ("plan-state", "check and plan")]


class TestPlan:
    @pytest.mark.parametrize(("workflow", "step"), PLANS)
    def test_what_is_planned_is_what_is_told(self, runner: Runner, workflow: str, step: str) -> None:
        runner.answer("mayfly", ("check", "{}", 0), ("plan", f"{MARK}\nfine\n", 1))
        done = runner.run(workflow, step, NUMBER="7", BASE="base")
        assert done.returncode == 1, "the code of the plan is the code of the step"
        assert runner.read("review/number") == "7\n"
        assert runner.read("review/comment.md") == f"{MARK}\nfine\n" == runner.read("summary.md")
        check, plan = runner.lines("mayfly")
        assert check == "check --against base --sarif"
        assert plan.startswith("plan --changed-since base --policy --format markdown --out review/whole.md ")
        assert plan.endswith("--secretless" if workflow == "plan" else "--save plans")

    @pytest.mark.parametrize(("workflow", "step"), PLANS)
    def test_a_mistake_in_a_file_is_told_and_nothing_is_planned(self, runner: Runner, workflow: str, step: str) -> None:
        mistake = "blueprints/a/blueprint.yaml:1:1: id: @all [x](y)\r``` is no id\n~~~\n"
        runner.answer("mayfly", ("--sarif", '{"runs": []}', 3), ("check", mistake, 3))
        done = runner.run(workflow, step, NUMBER="7", BASE="base")
        assert done.returncode == 3
        comment = runner.read("review/comment.md").splitlines()
        assert comment[:3] == [MARK, "## 🔴 CHECK FAILED: nothing was planned", ""]
        assert all(line.startswith("    ") for line in comment[3:])
        assert any("id: @all [x](y)``` is no id" in line for line in comment)
        assert runner.read("review/check.sarif") == '{"runs": []}'
        assert not any(line.startswith("plan") for line in runner.lines("mayfly"))

    @pytest.mark.parametrize(("workflow", "step"), PLANS)
    def test_a_plan_that_says_nothing_is_told_with_its_complaint(
        self, runner: Runner, workflow: str, step: str
    ) -> None:
        runner.answer("mayfly", ("check", "{}", 0), ("plan", "", 9))
        assert runner.run(workflow, step, NUMBER="7", BASE="base").returncode == 9
        assert runner.read("review/comment.md").splitlines() == [
            MARK,
            "## 🔴 FAILED: nothing was planned",
            "",
            "    something went wrong",
        ]

    def test_a_bucket_that_would_change_is_refused_by_the_real_check(self, runner: Runner) -> None:
        project = small_project(runner.folder)
        git(project.folder, "init", "--quiet")
        git(project.folder, "add", "mayfly.yaml", "users", "blueprints")
        git(project.folder, "commit", "--quiet", "-m", "released")
        project.add_blueprint("tiny", MINIMAL + "bucket: another-one\n")
        shutil.rmtree(runner.folder / ".venv")
        (runner.folder / ".venv").symlink_to(PROJECT / ".venv")
        assert runner.run("plan", PLANS[0][1], NUMBER="7", BASE="HEAD").returncode == 3
        assert "the bucket was 'demo-tiny' in HEAD and would be 'another-one'" in runner.read("review/comment.md")
        (run,) = json.loads(runner.read("review/check.sarif"))["runs"]
        assert [one["ruleId"] for one in run["results"]] == ["id-changed"]

    @pytest.mark.parametrize("workflow", ["plan", "plan-state"])
    def test_a_run_that_ends_before_has_a_comment_all_the_same(self, runner: Runner, workflow: str) -> None:
        assert runner.run(workflow, "have something to say, whatever happens", NUMBER="7").returncode == 0
        assert runner.read("review/number") == "7\n"
        assert runner.read("review/comment.md").startswith(f"{MARK}\n## 🔴 FAILED")


class TestComment:
    @pytest.fixture
    def reviewed(self, runner: Runner) -> Runner:
        (runner.folder / "review").mkdir()
        (runner.folder / "review/number").write_text("7; rm -rf /\n")
        (runner.folder / "review/comment.md").write_text(f"{MARK}\n" + "x" * 70_000)
        (runner.folder / "review/check.sarif").write_text('{"runs": []}')
        return runner

    def comments(self, runner: Runner, *bodies: tuple[str, str], head: str = "head") -> None:
        found = [{"id": n, "user": {"login": who}, "body": body} for n, (who, body) in enumerate(bodies, start=40)]
        runner.answer("gh", ("--method", {}, 0), ("comments", found, 0), ("pulls/7", {"head": {"sha": head}}, 0))

    def test_the_first_comment_is_made(self, reviewed: Runner) -> None:
        self.comments(reviewed, ("github-actions[bot]", "something else"), ("eve", MARK))
        assert reviewed.run("comment", "write the comment", SHA="head").returncode == 0
        last = reviewed.asked("gh")[-1]
        assert last["words"][:4] == ["api", "--method", "POST", "repos/lab/platform/issues/7/comments"]
        assert len(last["input"]["body"]) == 65_536
        assert reviewed.outputs == {"number": "7"}

    def test_the_next_one_takes_its_place(self, reviewed: Runner) -> None:
        self.comments(reviewed, ("eve", MARK), ("github-actions[bot]", f"{MARK}\nold"))
        assert reviewed.run("comment", "write the comment", SHA="head").returncode == 0
        assert reviewed.asked("gh")[-1]["words"][:4] == [
            "api",
            "--method",
            "PATCH",
            "repos/lab/platform/issues/comments/41",
        ]

    def test_a_commit_that_is_no_longer_the_head_is_not_told(self, reviewed: Runner) -> None:
        self.comments(reviewed, head="newer")
        assert reviewed.run("comment", "write the comment", SHA="head").returncode == 0
        assert not any("--method" in line for line in reviewed.lines("gh"))
        assert reviewed.outputs == {}

    def test_what_is_not_our_comment_is_not_told(self, reviewed: Runner) -> None:
        (reviewed.folder / "review/comment.md").write_text("buy this\n")
        self.comments(reviewed)
        assert reviewed.run("comment", "write the comment", SHA="head").returncode != 0
        assert not any("--method" in line for line in reviewed.lines("gh"))

    def test_findings_go_to_the_page_of_code_scanning(self, reviewed: Runner) -> None:
        done = reviewed.run("comment", "show what the check found beside the lines", SHA="head", NUMBER="7")
        assert done.returncode == 0
        (sent,) = (one["input"] for one in reviewed.asked("gh"))
        assert (sent["commit_sha"], sent["ref"]) == ("head", "refs/pull/7/head")
        assert json.loads(gzip.decompress(base64.b64decode(sent["sarif"]))) == {"runs": []}

    def test_a_repository_without_code_scanning_is_no_failure(self, reviewed: Runner) -> None:
        reviewed.answer("gh", ("code-scanning", {}, 1))
        done = reviewed.run("comment", "show what the check found beside the lines", SHA="head", NUMBER="7")
        assert done.returncode == 0
        assert "::notice::" in done.stdout


class TestApply:
    def merged(self, runner: Runner, *comments: str, runs: tuple[int, ...] = (900,)) -> None:
        said = [{"user": {"login": "github-actions[bot]"}, "body": f"{MARK}\n{one}"} for one in comments]
        forged = {"user": {"login": "eve"}, "body": f"{MARK}\nApproval: `sha256:{'b' * 64}`"}
        pulls = [
            {"merged_at": None, "number": 1, "head": {"sha": "x"}},
            {"merged_at": "2026-01-01", "number": 7, "head": {"sha": "head"}},
        ]
        runner.answer(
            "gh",
            ("commits/merged/pulls", pulls, 0),
            ("issues/7/comments", [*said, forged], 0),
            ("runs?head_sha=head&status=success", {"workflow_runs": [{"id": one} for one in runs]}, 0),
        )

    def test_the_hash_of_the_comment_and_the_run_that_planned_it_are_found(self, runner: Runner) -> None:
        self.merged(runner, f"plan\n\nApproval: `{HASH}`\n")
        assert runner.run("apply", "find what was approved").returncode == 0
        assert runner.outputs == {"hash": HASH, "run": "900"}

    @pytest.mark.parametrize(
        ("comment", "runs"), [("no hash", (900,)), (f"> Approval: `{HASH}`", (900,)), (f"Approval: `{HASH}`", ())]
    )
    def test_what_nobody_approved_is_not_applied(self, runner: Runner, comment: str, runs: tuple[int, ...]) -> None:
        self.merged(runner, comment, runs=runs)
        done = runner.run("apply", "find what was approved")
        assert done.returncode == 1
        assert "::error::Pull request 7 has no approved plan." in done.stdout
        assert runner.outputs == {}

    def test_a_push_without_a_pull_request_applies_nothing(self, runner: Runner) -> None:
        runner.answer("gh", ("commits/merged/pulls", [], 0))
        assert runner.run("apply", "find what was approved").returncode == 0
        assert runner.outputs == {}

    def test_exactly_that_is_applied(self, runner: Runner) -> None:
        assert runner.run("apply", "apply", APPROVED=HASH).returncode == 0
        assert runner.lines("mayfly") == [f"apply --saved plans --approved {HASH} --yes"]


class TestDrift:
    def look(self, runner: Runner, *, drift: int, planned: int = 0, **changes: int) -> int:
        roots = [{"root": root, "error": "", "changes": [{}] * count} for root, count in changes.items()]
        runner.answer("mayfly", ("drift", f"{MARK}\nchanged by hand\n", drift), ("plan", {"roots": roots}, planned))
        return runner.run("drift", "look").returncode

    def test_a_quiet_night_closes_what_is_open(self, runner: Runner) -> None:
        assert self.look(runner, drift=0, base=0) == 0
        runner.answer("gh", ("list", [{"number": 3}], 0))
        assert runner.run("drift", "tell").returncode == 0
        assert [line for line in runner.lines("gh") if "close" in line] == [
            "issue close 3 --comment There is nothing of this any more."
        ] * 2

    def test_nothing_to_tell_and_nothing_open_is_silence(self, runner: Runner) -> None:
        assert self.look(runner, drift=0, base=0) == 0
        runner.answer("gh", ("list", [], 0))
        assert runner.run("drift", "tell").returncode == 0
        assert all(" list " in line for line in runner.lines("gh"))

    def test_drift_and_what_was_not_applied_are_two_issues(self, runner: Runner) -> None:
        assert self.look(runner, drift=1, base=0, groups=2) == 0
        runner.answer("gh", ("list", [], 0))
        assert runner.run("drift", "tell").returncode == 0
        made = {one["words"][one["words"].index("--label") + 1]: one["body"] for one in self.creations(runner)}
        assert made["drift"] == f"{MARK}\nchanged by hand\n"
        assert made["unapplied"].endswith("- `groups`: 2 to change\n")
        assert "`base`" not in made["unapplied"]

    def test_an_issue_that_is_open_is_updated(self, runner: Runner) -> None:
        assert self.look(runner, drift=5, planned=5, base=1) == 0
        runner.answer("gh", ("list", [{"number": 3}], 0))
        assert runner.run("drift", "tell").returncode == 0
        assert not self.creations(runner)
        assert [line for line in runner.lines("gh") if "edit" in line] == [
            "issue edit 3 --body-file drift.md",
            "issue edit 3 --body-file unapplied.md",
        ]

    def test_a_look_that_failed_fails(self, runner: Runner) -> None:
        assert self.look(runner, drift=9) == 9
        assert self.look(runner, drift=0, planned=3) == 3

    def creations(self, runner: Runner) -> list[dict[str, Any]]:
        return [one for one in runner.asked("gh") if one["words"][:2] == ["issue", "create"]]
