"""Who may do what, cell by cell: two groups, two analyses, people and instances, with the policies that are generated.

The emulator enforces IAM here, and every cell is a real call with the credentials of the role. What the table says is
NeuroCAAS's contract, section "Storage layout": people list their prefix, send inputs, configs and submissions, get
configs and results, and may delete what they may see or send.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from botocore.exceptions import ClientError

from compiler import iam, names
from compiler.load import load_platform
from compiler.model import Platform
from compiler.platform import base_values, group_values
from compiler.quota import RolePolicies
from tests.compiler.projects import MINIMAL, Project
from tests.mayfly.localcloud.rig import TRUST_EC2, Clients, started

pytestmark = pytest.mark.cloud
ANALYSES = ("alpha", "beta")
OPTED_IN = {"lab1": ("alpha", "beta"), "lab2": ("beta",)}
FOLDERS = ("inputs", "configs", "submissions", "results")
MAY = {
    #            inputs              configs                 submissions         results
    "user": ("list put delete", "list get put delete", "list put delete", "list get delete"),
    "instance": ("list get", "list get", "list", "list get put"),
}
ACTIONS = ("list", "get", "put", "delete")
ROLES = {"user": names.user_role, "instance": names.instance_role}


@dataclass(frozen=True, slots=True)
class World:
    """Buckets with an object in every folder of every group, and a client for each role."""

    platform: Platform
    administrator: Clients
    sessions: dict[tuple[str, str], Any]

    def bucket(self, analysis: str) -> str:
        return self.platform.bucket(analysis)

    def try_it(self, s3: Any, action: str, bucket: str, prefix: str) -> bool:
        """Make one call; whether it was allowed. Something else than a refusal is a failure of the test."""
        key = f"{prefix}object"
        try:
            if action == "list":
                assert s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] > 0
            elif action == "get":
                assert s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            elif action == "put":
                s3.put_object(Bucket=bucket, Key=f"{prefix}new", Body=b"new")
            else:
                s3.delete_object(Bucket=bucket, Key=f"{prefix}to-delete")
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"AccessDenied", "403"}:
                raise
            return False
        return True


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    project = Project(folder=tmp_path_factory.mktemp("project"))
    project.write("mayfly.yaml", 'name: who\naccount: "123456789012"\nregion: us-east-1\n')
    for analysis in ANALYSES:
        project.add_blueprint(analysis, MINIMAL.replace("tiny", analysis))
    for group, analyses in OPTED_IN.items():
        project.write(f"users/{group}.yaml", f"id: {group}\ntitle: Lab\nanalyses: [{', '.join(analyses)}]\n")
    platform = load_platform(project.folder)
    with started(tmp_path_factory.mktemp("cloud")) as (_, administrator):
        s3 = administrator.s3
        for analysis in ANALYSES:
            s3.create_bucket(Bucket=platform.bucket(analysis))
            for group in OPTED_IN:
                for folder in FOLDERS:
                    for name in ("object", "to-delete"):
                        s3.put_object(Bucket=platform.bucket(analysis), Key=f"{group}/{folder}/{name}", Body=b"x")
        sessions = {(kind, group): become(administrator, platform, kind, group) for kind in ROLES for group in OPTED_IN}
        yield World(platform, administrator, sessions)


def become(administrator: Clients, platform: Platform, kind: str, group: str) -> Any:
    """Make a role as the root of its group would, and return S3 as that role sees it."""
    values = group_values(platform, platform.groups[group])
    inline, managed = values[f"{kind}_policies"], values[f"{kind}_managed_policies"]
    return assume(administrator, values[f"{kind}_role"], RolePolicies(inline=inline, managed=managed)).s3


def assume(administrator: Clients, role: str, policies: RolePolicies) -> Clients:
    trust = json.loads(json.dumps(TRUST_EC2))
    trust["Statement"][0]["Principal"] = {"AWS": f"arn:aws:iam::{administrator.settings.account}:root"}
    made = administrator.iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    for name, text in policies.inline.items():
        administrator.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=text)
    for name, text in policies.managed.items():
        arn = administrator.iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
        administrator.iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    found = administrator.sts.assume_role(RoleArn=made["Arn"], RoleSessionName="test")["Credentials"]
    return administrator.with_key(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


@pytest.mark.parametrize(("folder", "whose"), list(product(FOLDERS, ("own", "other"))))
@pytest.mark.parametrize(("group", "analysis"), list(product(OPTED_IN, ANALYSES)))
@pytest.mark.parametrize("kind", list(MAY))
def test_the_table(world: World, *, kind: str, group: str, analysis: str, folder: str, whose: str) -> None:
    owner = group if whose == "own" else next(other for other in OPTED_IN if other != group)
    s3, bucket, prefix = world.sessions[kind, group], world.bucket(analysis), f"{owner}/{folder}/"
    found = {action for action in ACTIONS if world.try_it(s3, action, bucket, prefix)}
    expected = MAY[kind][FOLDERS.index(folder)] if whose == "own" and analysis in OPTED_IN[group] else ""
    assert found == set(expected.split())


@pytest.mark.parametrize("kind", list(MAY))
@pytest.mark.parametrize("prefix", ["", "lab", "lab1", "lab11/", "lab2/", "/lab1/"])
def test_a_listing_that_shows_more_than_the_own_prefix(world: World, kind: str, prefix: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        world.sessions[kind, "lab1"].list_objects_v2(Bucket=world.bucket("alpha"), Prefix=prefix)


def test_policies_that_do_not_fit_into_a_role_grant_the_same(world: World) -> None:
    """The managed form of a group's policies, on a role of its own, gives the same cells."""
    for kind, make in (("user", iam.user_policies), ("instance", iam.instance_policies)):
        inline = make(world.platform, "lab1").inline
        merged = RolePolicies(inline={}, managed={f"{kind}-{name}": text for name, text in inline.items()})
        s3 = assume(world.administrator, f"managed-{kind}", merged).s3
        for analysis in ANALYSES:
            for folder, expected in zip(FOLDERS, MAY[kind], strict=True):
                for owner, allowed in (("lab1", expected), ("lab2", "")):
                    prefix = f"{owner}/{folder}/"
                    found = {a for a in ACTIONS if world.try_it(s3, a, world.bucket(analysis), prefix)}
                    assert found == set(allowed.split()), (kind, analysis, folder, owner)


def test_the_runner_reaches_its_deployment_by_its_buckets_and_no_other(world: World) -> None:
    """The bucket of an analysis admits the runner; that of a deployment with a longer name does not."""
    administrator = world.administrator
    policy = base_values(world.platform)["runner_policy"]
    runner = assume(administrator, "who-runner", RolePolicies(inline={"runner": policy}, managed={}))
    administrator.s3.create_bucket(Bucket="who-2-alpha")
    administrator.s3.put_object(Bucket="who-2-alpha", Key="lab1/results/object", Body=b"x")
    administrator.s3.create_bucket(Bucket="who-platform")
    administrator.s3.put_object(Bucket="who-platform", Key="agent/object", Body=b"x")
    for action in ACTIONS:
        assert not world.try_it(runner.s3, action, "who-2-alpha", "lab1/results/")
        assert world.try_it(runner.s3, action, "who-platform", "agent/")
    assert not world.try_it(runner.s3, "get", world.bucket("alpha"), "lab1/inputs/")
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam::123456789012:role/who-runner"]},
            "Action": actions,
            "Resource": resources,
        }
        for actions, resources in (
            (["s3:ListBucket"], ["arn:aws:s3:::who-alpha"]),
            (["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], ["arn:aws:s3:::who-alpha/*"]),
        )
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    administrator.s3.put_bucket_policy(Bucket="who-alpha", Policy=document)
    for action in ACTIONS:
        assert world.try_it(runner.s3, action, "who-alpha", "lab1/inputs/")
        assert not world.try_it(runner.s3, action, "who-beta", "lab1/inputs/")
