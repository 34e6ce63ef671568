"""Real Terraform plans without an account, a state or a network, and says what changes between two versions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.model import Platform
from compiler.platform import live_roots, render_platform
from compiler.review.documents import documents, is_unread
from compiler.review.report import Review, Verdict, review
from compiler.review.rules import Finding, check_rules
from compiler.review.values import Action, RootPlan
from compiler.review.waivers import apply_waivers, load_waivers
from runner.review.revision import affected_roots, read_revision, removed_roots
from runner.review.secretless import plan_without_secrets, secretless_terraform
from runner.slots import Slots
from runner.toolchain import find_toolchain
from tests.compiler.projects import MINIMAL, REPOSITORY, Project, aws_project, example_project
from tests.runner.test_review_revision import git

pytestmark = [pytest.mark.slow, pytest.mark.terraform]
TODAY = date(2026, 11, 1)
UNREADABLE = """
resource "aws_iam_role_policy" "more" {
  name   = "more"
  role   = aws_iam_role.user.name

  policy = jsonencode({
    Statement = [{ Effect = "Allow", Action = "sts:TagSession", Resource = aws_iam_role.user.arn }]
  })
}
"""
"""A policy whose text waits for an ARN: no plan from nothing knows it."""


def with_modules(project: Project) -> Project:
    """Give a project the real modules."""
    shutil.rmtree(project.folder / "modules")
    shutil.copytree(REPOSITORY / "modules", project.folder / "modules", ignore=shutil.ignore_patterns(".terraform*"))
    return project


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[RootPlan]]:
    """Return what plans roots of a platform, and tells of each."""
    folder = tmp_path_factory.mktemp("secretless")
    toolchain = find_toolchain(folder / "terraform", os.environ)
    terraform = secretless_terraform(toolchain, "us-east-1", Slots(folder / "slots", 3))

    def plan(
        roots: list[str], after: dict[str, str], before: dict[str, str], told: list[str] | None = None
    ) -> list[RootPlan]:
        work = tmp_path_factory.mktemp("work")
        tell = [] if told is None else told
        return plan_without_secrets(
            terraform, roots, after, before, work=work, on_result=lambda one: tell.append(one.root)
        )

    return plan


def errors(plans: list[RootPlan], platform: Platform) -> list[Finding]:
    """Return the findings of a platform's rules that nobody has waived."""
    waivers = load_waivers(platform.project)
    marked, expired = apply_waivers(check_rules(plans, platform, waivers.thresholds), waivers, TODAY)
    assert expired == ()
    return [one for one in marked if one.severity.value == "error" and not one.waiver]


@pytest.mark.parametrize("name", ["the example platform", "a platform on AWS"])
def test_no_root_of_ours_breaks_a_rule(name: str, plan: Callable[..., list[RootPlan]], tmp_path: Path) -> None:
    on_aws = name == "a platform on AWS"
    folder = with_modules(aws_project(tmp_path / "aws")).folder if on_aws else REPOSITORY
    platform = load_platform(folder)
    roots = list(live_roots(platform))
    plans = plan(roots, render_platform(platform), {})
    assert [one.error for one in plans] == [""] * len(roots)
    assert errors(plans, platform) == []
    made = [change for one in plans for change in one.changes]
    assert [change.address for change in made if is_unread(change)] == []
    known = {change.kind for change in made if list(documents(change.after))}
    assert {"aws_iam_role", "aws_iam_role_policy", "aws_sqs_queue", "aws_s3_bucket_policy"} <= known
    assert ("aws_iam_user_policy" in known) == on_aws


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A pull request of a stranger: what was planned, and what is said of it."""

    plans: dict[str, RootPlan]
    told: list[str]
    findings: dict[str, list[str]]
    review: Review


@pytest.fixture(scope="module")
def reviewed(plan: Callable[..., list[RootPlan]], tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    """Let lab2 opt in, open the queue to the world, change a policy that nobody can read, and remove two analyses."""
    folder = tmp_path_factory.mktemp("stranger")
    project = with_modules(example_project(folder / "project"))
    for name, more in (("kept", ""), ("purged", "purge: true\n")):
        project.add_blueprint(name, MINIMAL.replace("tiny", name) + more)
    module = project.folder / "modules/group/main.tf"
    module.write_text(module.read_text() + UNREADABLE)
    git(project.folder, "init", "--quiet", ".")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "--quiet", "-m", "one")

    changed = Project(folder=folder / "changed")
    shutil.copytree(project.folder, changed.folder)
    shutil.rmtree(changed.folder / "blueprints/kept")
    shutil.rmtree(changed.folder / "blueprints/purged")
    profile = (changed.folder / "users/lab2.yaml").read_text()
    changed.write("users/lab2.yaml", profile + "analyses: [pca]\n")
    for file, old, new in (
        ("modules/group/main.tf", "sts:TagSession", "sts:*"),
        ("modules/base/main.tf", '{ Service = "events.amazonaws.com" }', '"*"'),
        ("modules/base/main.tf", '        Condition = { ArnEquals = { "aws:SourceArn" = local.rule_arn } }\n', ""),
    ):
        text = (changed.folder / file).read_text()
        assert old in text
        changed.write(file, text.replace(old, new))

    platform = load_platform(changed.folder)
    files = render_platform(platform)
    before = read_revision(changed.folder, "HEAD", folder / "before")
    told: list[str] = []
    plans = plan(affected_roots(platform, files, before), files, dict(before.files), told)
    found: dict[str, list[str]] = {}
    for one in errors(plans, platform):
        found.setdefault(one.root, []).append(one.rule)
    made = review(
        plans,
        platform,
        before.platform,
        removed=removed_roots(platform, before),
        findings=check_rules(plans, platform),
        secretless=True,
    )
    return Reviewed(plans={one.root: one for one in plans}, told=told, findings=found, review=made)


def test_only_what_differs_is_planned_as_it_was_and_as_it_is(reviewed: Reviewed) -> None:
    assert [one.error for one in reviewed.plans.values()] == [""] * 5
    both = ("base", "groups/lab1", "groups/lab2")
    gone = ("analyses/kept", "analyses/purged")
    assert sorted(reviewed.told) == sorted([*both, *(f"before/{root}" for root in (*both, *gone))])


def test_a_group_that_opts_in_gets_its_policies(reviewed: Reviewed) -> None:
    changes = reviewed.plans["groups/lab2"].effective
    assert {change.action for change in changes} == {Action.CREATE, Action.UPDATE}
    documents_ = " ".join(str(change.after.get("policy")) for change in changes)
    assert "demo-pca/lab2/results/" in documents_


def test_a_queue_that_is_opened_is_seen(reviewed: Reviewed) -> None:
    (queue,) = reviewed.plans["base"].effective
    assert (queue.address, queue.changed()) == ("module.base.aws_sqs_queue.events", ("policy",))
    assert reviewed.findings["base"] == ["MF002"]
    assert any(grant.holder == "*" for one in reviewed.review.access for grant in one.added)


def test_a_policy_that_nobody_can_read_is_not_nothing(reviewed: Reviewed) -> None:
    (change,) = reviewed.plans["groups/lab1"].effective
    assert change.address == "module.group.aws_iam_role_policy.more"
    assert reviewed.findings["groups/lab1"] == ["MF010"]
    assert any(one.unknown and one.change == change for one in reviewed.review.access)


def test_a_removed_analysis_keeps_its_data_unless_it_said_otherwise(reviewed: Reviewed) -> None:
    kept, purged = (reviewed.plans[f"analyses/{name}"] for name in ("kept", "purged"))
    assert {change.action for change in kept.effective} == {Action.FORGET}
    assert {change.action for change in purged.effective} == {Action.DELETE}
    assert "analyses/kept" not in reviewed.findings
    assert reviewed.findings["analyses/purged"] == ["MF004"]
    assert {one.root for one in reviewed.review.losses} == {"analyses/purged"}
    assert reviewed.review.verdict is Verdict.DATA_LOSS
