"""Policies grant what the contract of the bucket layout says, and nothing else."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from compiler import iam
from compiler.load import load_platform
from compiler.quota import MANAGED_LIMIT, MANAGED_PER_ROLE
from tests.compiler.projects import MINIMAL, Project

FOLDERS = ("inputs", "configs", "submissions", "results")
USER = {"inputs": "put delete", "configs": "get put delete", "submissions": "put delete", "results": "get delete"}
INSTANCE = {"inputs": "get", "configs": "get", "submissions": "", "results": "get put"}
ACTIONS = {"get": "s3:GetObject", "put": "s3:PutObject", "delete": "s3:DeleteObject"}


def statements(policies: dict[str, str]) -> list[dict[str, Any]]:
    return [statement for text in policies.values() for statement in json.loads(text)["Statement"]]


def allowed(policies: dict[str, str], action: str, resource: str) -> bool:
    return any(
        action in s["Action"]
        and any(
            fnmatchcase(resource, r) for r in ([s["Resource"]] if isinstance(s["Resource"], str) else s["Resource"])
        )
        for s in statements(policies)
    )


@pytest.mark.parametrize(("make", "table"), [(iam.user_policies, USER), (iam.instance_policies, INSTANCE)])
def test_who_may_do_what_inside_the_own_prefix_and_nothing_outside(
    example: Project, make: Any, table: dict[str, str]
) -> None:
    policies = make(load_platform(example.folder), "lab1").inline
    for folder in FOLDERS:
        for word, action in ACTIONS.items():
            own = f"arn:aws:s3:::demo-pca/lab1/{folder}/x/y"
            assert allowed(policies, action, own) == (word in table[folder].split()), (folder, word)
            for other in ("demo-pca/lab2", "demo-pca/lab11", "demo-other/lab1", "demo-platform/lab1"):
                assert not allowed(policies, action, f"arn:aws:s3:::{other}/{folder}/x"), (other, folder, word)


def test_listing_is_bound_to_the_prefix(example: Project) -> None:
    platform = load_platform(example.folder)
    for make in (iam.user_policies, iam.instance_policies):
        listing = [s for s in statements(make(platform, "lab1").inline) if "s3:ListBucket" in s["Action"]]
        assert listing
        for statement in listing:
            assert statement["Condition"] == {"StringLike": {"s3:prefix": "lab1/*"}}
            assert statement["Action"] == ["s3:ListBucket"]


def test_an_instance_fetches_agents_and_nothing_else_of_the_platform(example: Project) -> None:
    policies = iam.instance_policies(load_platform(example.folder), "lab1").inline
    assert allowed(policies, "s3:GetObject", "arn:aws:s3:::demo-platform/agent/x.pyz")
    assert not allowed(policies, "s3:GetObject", "arn:aws:s3:::demo-platform/other")
    assert not allowed(policies, "s3:PutObject", "arn:aws:s3:::demo-platform/agent/x.pyz")


def test_no_wildcard_action_and_no_policy_variable(example: Project) -> None:
    platform = load_platform(example.folder)
    texts = [
        *iam.user_policies(platform, "lab1").inline.values(),
        *iam.instance_policies(platform, "lab1").inline.values(),
        iam.runner_policy(platform),
    ]
    for text in texts:
        assert "${" not in text
        assert " " not in text
        for statement in json.loads(text)["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in statement["Action"]:
                assert "*" not in action
            if statement["Resource"] == "*":
                assert all(action.startswith("ec2:Describe") for action in statement["Action"])


def test_a_group_that_opted_in_to_nothing_may_do_nothing(example: Project) -> None:
    platform = load_platform(example.folder)
    assert iam.user_policies(platform, "lab2").inline == {}
    assert list(iam.instance_policies(platform, "lab2").inline) == ["platform"]


def test_the_runner_reaches_no_other_deployment_and_no_list_of_buckets(project: Project) -> None:
    before = iam.runner_policy(load_platform(project.folder))
    for action in ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        for bucket in ("demo-2-pca", "demo-2-platform", "demo-tiny", "demo-platform-2"):
            assert not allowed({"runner": before}, action, f"arn:aws:s3:::{bucket}")
            assert not allowed({"runner": before}, action, f"arn:aws:s3:::{bucket}/lab1/results/x")
    assert allowed({"runner": before}, "s3:PutObject", "arn:aws:s3:::demo-platform/agent/x")
    project.add_blueprint("other", MINIMAL.replace("tiny", "other") + "bucket: own-bucket\n")
    assert iam.runner_policy(load_platform(project.folder)) == before


def test_on_aws_the_runner_sees_the_states_of_jobs_and_no_others(project: Project) -> None:
    project.write(
        "mayfly.yaml",
        'name: demo\naccount: "123456789012"\nregion: us-east-1\ncloud: aws\nstate: {bucket: states-of-ours}\n',
    )
    runner = {"runner": iam.runner_policy(load_platform(project.folder))}
    assert allowed(runner, "s3:PutObject", "arn:aws:s3:::states-of-ours/jobs/a.tfstate")
    assert not allowed(runner, "s3:GetObject", "arn:aws:s3:::states-of-ours/groups/lab1.tfstate")
    assert not allowed(runner, "s3:PutObject", "arn:aws:s3:::states-of-ours/base.tfstate")


def test_collaborators_read_results_and_nothing_more(project: Project) -> None:
    project.write("users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [tiny]\ncollaborators: [lab2]\n")
    project.write("users/lab2.yaml", "id: lab2\ntitle: Lab Two\n")
    platform = load_platform(project.folder)
    policies = iam.user_policies(platform, "lab2").inline
    assert list(policies) == ["tiny.lab1"]
    assert allowed(policies, "s3:GetObject", "arn:aws:s3:::demo-tiny/lab1/results/job/x")
    for action in ACTIONS.values():
        for folder in FOLDERS:
            if (action, folder) != ("s3:GetObject", "results"):
                assert not allowed(policies, action, f"arn:aws:s3:::demo-tiny/lab1/{folder}/x")
    listing = [s for s in statements(policies) if "s3:ListBucket" in s["Action"]]
    assert [s["Condition"] for s in listing] == [{"StringLike": {"s3:prefix": "lab1/results/*"}}]
    assert "lab1" not in json.dumps(iam.instance_policies(platform, "lab2").inline)


def test_a_bucket_of_the_groups_own_is_for_its_instances_and_the_runner(project: Project) -> None:
    project.write(
        "users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [tiny]\nstorage: {outside_buckets: [labs-own]}\n"
    )
    platform = load_platform(project.folder)
    for policies in (iam.instance_policies(platform, "lab1").inline, {"runner": iam.runner_policy(platform)}):
        assert allowed(policies, "s3:GetObject", "arn:aws:s3:::labs-own/any")
        assert allowed(policies, "s3:PutObject", "arn:aws:s3:::labs-own/any")
        assert not allowed(policies, "s3:PutObject", "arn:aws:s3:::labs-own-2/any")
    assert "labs-own" not in json.dumps(iam.user_policies(platform, "lab1").inline)


def with_analyses(project: Project, count: int) -> None:
    ids = [f"analysis-with-a-long-name-{n:03}" for n in range(count)]
    for name in ids:
        project.add_blueprint(name, MINIMAL.replace("tiny", name))
    project.write("users/lab1.yaml", f"id: lab1\ntitle: Lab One\nanalyses: [{', '.join(ids)}]\n")


def test_more_than_a_role_holds_is_split_into_managed_policies_that_grant_the_same(project: Project) -> None:
    with_analyses(project, 60)
    platform = load_platform(project.folder)
    for make, table in ((iam.user_policies, USER), (iam.instance_policies, INSTANCE)):
        policies = make(platform, "lab1")
        assert policies.inline == {}
        assert 2 < len(policies.managed) <= MANAGED_PER_ROLE
        assert policies.excess == ""
        assert all(len(text) <= MANAGED_LIMIT for text in policies.managed.values())
        for name in platform.blueprints:
            if name == "tiny":
                continue
            for folder in FOLDERS:
                for word, action in ACTIONS.items():
                    resource = f"arn:aws:s3:::demo-{name}/lab1/{folder}/x"
                    assert allowed(policies.managed, action, resource) == (word in table[folder].split())
                    assert not allowed(policies.managed, action, resource.replace("lab1", "lab2"))
            assert allowed(policies.managed, "s3:ListBucket", f"arn:aws:s3:::demo-{name}")
    assert next(iter(iam.user_policies(platform, "lab1").managed)) == "demo-group-lab1-1"


def test_what_iam_cannot_hold_is_refused_with_the_figure(project: Project) -> None:
    with_analyses(project, 260)
    told = project.errors()
    assert re.search(
        r"users/lab1\.yaml:3:11: analyses: the policies of the group's people for 260 analyses have \d{6} characters "
        r"and need \d\d managed policies of 6144; IAM allows 10 on one role\. Opt in to fewer, or split the group\.",
        "\n".join(told),
    )


def test_a_deployment_is_not_called_like_the_roles_of_another(project: Project) -> None:
    project.write("mayfly.yaml", 'name: demo-group-two\naccount: "123456789012"\nregion: us-east-1\n')
    assert "'demo-group-two' holds '-group', as names of another deployment's roles do" in "".join(project.errors())


def test_the_partition_follows_the_region(project: Project) -> None:
    project.write("mayfly.yaml", 'name: demo\naccount: "123456789012"\nregion: cn-north-1\n')
    platform = load_platform(project.folder)
    assert '"arn:aws-cn:s3:::demo-tiny"' in iam.user_policies(platform, "lab1").inline["tiny"]
    assert "arn:aws:" not in iam.runner_policy(platform)
