"""The page on setting up AWS: its commands run as they stand there, and the roles they make may do what is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from compiler.deployment import DEPLOYMENT_FILE
from compiler.load import load_platform
from tests.compiler.projects import small_project

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "aws-setup.md").read_text(encoding="utf-8")
ACCOUNT, DEPLOYMENT = "123456789012", "mylab"
STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys

words = sys.argv[1:]
name = pathlib.Path(sys.argv[0]).name
text = sys.stdin.read() if "tee" in words or "--input" in words else ""
with open(pathlib.Path(__file__).with_name("asked.jsonl"), "a") as log:
    log.write(json.dumps([name, *words, text]) + "\\n")
if "get-caller-identity" in words:
    print("{ACCOUNT}")
if name == "terraform":
    place = pathlib.Path(words[0].removeprefix("-chdir="))
    place.mkdir(parents=True)
    (place / ".terraform.lock.hcl").write_text("# a lock")
"""
ROLE, POLICY, PROFILE, USER = (
    f"arn:aws:iam::{ACCOUNT}:{kind}" for kind in ("role", "policy", "instance-profile", "user")
)
GROUP = f"{DEPLOYMENT}-group-lab1"
NEEDED = {
    f"aws_iam_role {ROLE}/{GROUP}": """
        CreateRole DeleteRole GetRole TagRole UntagRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy PassRole
        ListRolePolicies ListAttachedRolePolicies ListInstanceProfilesForRole PutRolePermissionsBoundary
        DeleteRolePermissionsBoundary
    """,
    f"aws_iam_role_policy {ROLE}/{DEPLOYMENT}-runner": "PutRolePolicy GetRolePolicy DeleteRolePolicy",
    f"aws_iam_role_policy_attachment {ROLE}/{GROUP}": "AttachRolePolicy DetachRolePolicy",
    f"aws_iam_policy {POLICY}/{GROUP}-1": """
        CreatePolicy DeletePolicy GetPolicy TagPolicy UntagPolicy CreatePolicyVersion GetPolicyVersion
        DeletePolicyVersion ListPolicyVersions
    """,
    f"aws_iam_instance_profile {PROFILE}/{DEPLOYMENT}-instance-lab1": """
        CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile TagInstanceProfile UntagInstanceProfile
        AddRoleToInstanceProfile RemoveRoleFromInstanceProfile
    """,
    f"aws_iam_user {USER}/{GROUP}": """
        CreateUser DeleteUser GetUser TagUser UntagUser UpdateUser ListGroupsForUser PutUserPermissionsBoundary
        DeleteUserPermissionsBoundary
    """,
    f"aws_iam_user_policy {USER}/{GROUP}": "PutUserPolicy GetUserPolicy DeleteUserPolicy",
    f"aws_iam_access_key {USER}/{GROUP}": "CreateAccessKey DeleteAccessKey ListAccessKeys",
}
"""What Terraform's provider calls to make, change and remove each kind, on a resource such as this one."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Every command of the page with its words and what it was given to read, the page run from top to bottom."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("aws", "gh", "sudo", "terraform", "mayfly"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    script = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]


def documents(asked: list[list[str]], role: str, kind: str) -> list[dict[str, Any]]:
    """The statements of the policies that a role is given."""
    found: list[dict[str, Any]] = []
    for words in asked:
        if words[0] == "aws" and kind in words and words[words.index("--role-name") + 1] == f"{DEPLOYMENT}-{role}":
            found += json.loads(words[words.index(kind) + 1])["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def may(statements: list[dict[str, Any]], action: str, resource: str) -> bool:
    """Whether statements let somebody do something, the way IAM decides."""
    hits = [
        one["Effect"]
        for one in statements
        if any(fnmatchcase(action.lower(), pattern.lower()) for pattern in as_list(one["Action"]))
        and (
            any(fnmatchcase(resource, pattern) for pattern in as_list(one["Resource"]))
            if "Resource" in one
            else not any(fnmatchcase(resource, pattern) for pattern in as_list(one["NotResource"]))
        )
    ]
    return "Allow" in hits and "Deny" not in hits


@pytest.mark.parametrize("role", ["ci-plan", "ci-apply", "host"])
def test_every_policy_is_whole(asked: list[list[str]], role: str) -> None:
    (trust,) = documents(asked, role, "--assume-role-policy-document")
    assert trust["Action"].startswith("sts:AssumeRole")
    assert documents(asked, role, "--policy-document")


def test_tokens_are_taken_from_one_repository_and_for_one_purpose(asked: list[list[str]]) -> None:
    subjects = {}
    for role in ("ci-plan", "ci-apply"):
        (trust,) = documents(asked, role, "--assume-role-policy-document")
        subjects[role] = trust["Condition"]["StringLike"]["token.actions.githubusercontent.com:sub"]
    whose = "repo:my-org/my-platform"
    assert subjects == {
        "ci-plan": [f"{whose}:pull_request", f"{whose}:ref:refs/heads/main"],
        "ci-apply": [f"{whose}:environment:production"],
    }


def test_the_role_that_applies_may_do_what_the_modules_need(asked: list[list[str]]) -> None:
    statements = documents(asked, "ci-apply", "--policy-document")
    text = "".join(path.read_text() for path in PROJECT.glob("modules/*/main.tf"))
    kinds = set(re.findall(r'(?m)^resource "(aws_iam_\w+)"', text))
    assert kinds == {needed.split()[0] for needed in NEEDED}, "say above what each kind takes, and give it to the role"
    for needed, actions in NEEDED.items():
        kind, resource = needed.split()
        missing = [action for action in actions.split() if not may(statements, f"iam:{action}", resource)]
        assert not missing, f"{kind}: {missing}"


def test_the_role_that_applies_changes_nobody_else(asked: list[list[str]]) -> None:
    statements = documents(asked, "ci-apply", "--policy-document")
    for role in ("ci-apply", "ci-plan", "host"):
        assert not may(statements, "iam:PutRolePolicy", f"{ROLE}/{DEPLOYMENT}-{role}")
    for resource in (f"{ROLE}/admin", f"{USER}/admin", f"{POLICY}/admin"):
        for action in ("iam:AttachRolePolicy", "iam:CreateAccessKey", "iam:CreatePolicyVersion", "iam:PassRole"):
            assert not may(statements, action, resource)


def test_the_role_that_plans_reads_no_data(asked: list[list[str]]) -> None:
    (denied,) = (one for one in documents(asked, "ci-plan", "--policy-document") if one["Effect"] == "Deny")
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    state = f"arn:aws:s3:::{DEPLOYMENT}-terraform-state-{ACCOUNT}/groups/lab1.tfstate"
    assert may([everything, denied], "s3:GetObject", state)
    assert not may([everything, denied], "s3:GetObject", f"arn:aws:s3:::{DEPLOYMENT}-pca/lab1/results/x")
    assert not may([everything, denied], "sts:AssumeRole", f"{ROLE}/{DEPLOYMENT}-group-lab1")


def test_a_host_may_become_the_runner_and_nothing_else(asked: list[list[str]]) -> None:
    (allowed,) = documents(asked, "host", "--policy-document")
    runner = f"{ROLE}/{DEPLOYMENT}-runner"
    assert (allowed["Effect"], allowed["Action"], allowed["Resource"]) == ("Allow", "sts:AssumeRole", runner)
    (written,) = (words[-1] for words in asked if words[:2] == ["sudo", "tee"])
    assert f"role_arn = {runner}" in written
    offered = (PROJECT / "deploy" / "environment.example").read_text()
    assert "AWS_CONFIG_FILE=/etc/mayfly/aws" in offered
    assert re.search(r"\[profile (.*)\]", written)[1] in offered  # type: ignore[index]


def test_approvals_are_of_what_is_merged(asked: list[list[str]]) -> None:
    (rules,) = (json.loads(words[-1]) for words in asked if words[0] == "gh" and "--input" in words)
    assert rules["required_pull_request_reviews"]["dismiss_stale_reviews"] is True
    jobs = {
        job
        for name in ("plan", "plan-state")
        for job in re.findall(r"(?m)^jobs:\n  ([\w-]+):", (PROJECT / ".github/workflows" / f"{name}.yml").read_text())
    }
    assert set(rules["required_status_checks"]["contexts"]) == jobs


def test_the_deployment_that_the_page_shows_is_right(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    (shown,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)
    project.write(DEPLOYMENT_FILE, shown)
    assert load_platform(project.folder).deployment.state.bucket == f"{DEPLOYMENT}-terraform-state-{ACCOUNT}"
