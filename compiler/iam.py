"""IAM policies, computed: literal prefixes and nothing more than the contract of the bucket layout grants.

Policy variables such as `${aws:username}` are avoided: emulators do not evaluate them, and a literal is what a
reviewer can read. How much of it a role can hold is compiler.quota's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from compiler import names
from compiler.deployment import CloudKind, Deployment
from compiler.model import Platform
from compiler.quota import RolePolicies, Statement, document, fit
from state.keys import prefix

AGENT_PREFIX: Final = "agent/"
"""Where the platform bucket keeps the agent that instances fetch."""
JOB_STATES: Final = "jobs/"
"""Where the state bucket keeps what Terraform knows of jobs; the runner has no business with other states."""
DESCRIBED: Final = tuple(
    f"ec2:Describe{what}"
    for what in (
        "AccountAttributes",
        "AvailabilityZones",
        "Images",
        "InstanceCreditSpecifications",
        "InstanceStatus",
        "InstanceTypeOfferings",
        "InstanceTypes",
        "Instances",
        "NetworkInterfaces",
        "SecurityGroupRules",
        "SecurityGroups",
        "SpotInstanceRequests",
        "SpotPriceHistory",
        "Subnets",
        "Tags",
        "Volumes",
        "Vpcs",
    )
)
"""What the runner and Terraform's provider look at. EC2 lets nobody look at only some of it."""


def allow(
    actions: Sequence[str], resources: Sequence[str] | str, condition: Mapping[str, Any] | None = None
) -> Statement:
    """Return a statement that allows actions on resources, both sorted."""
    resource = resources if isinstance(resources, str) else sorted(resources)
    extra = {"Condition": dict(condition)} if condition else {}
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resource, **extra}


def list_prefix(bucket: str, *prefixes: str) -> Statement:
    """Return the grant to list what lies below prefixes of a bucket."""
    wanted = sorted(f"{one}*" for one in prefixes)
    return allow(["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": wanted[0] if len(wanted) == 1 else wanted}})


def user_policies(platform: Platform, group: str) -> RolePolicies:
    """Return what the people of a group may do.

    They list their prefix, write and delete what they send, read and delete what they get, and may not read inputs
    back: the platform is not a file store. They list and read the results of the groups that named them as
    collaborators.
    """
    grants = {platform.birth_id(a): _user_grants(platform, group, a) for a in platform.analyses_of(group)}
    for owner in platform.groups.values():
        if group in owner.collaborators and owner.id != group:
            for analysis in platform.analyses_of(owner.id):
                grants[f"{platform.birth_id(analysis)}.{owner.id}"] = _reader_grants(platform, owner.id, analysis)
    return fit(grants, names.user_role(platform.deployment.name, group))


def _user_grants(platform: Platform, group: str, analysis: str) -> list[Statement]:
    bucket = names.bucket_arn(platform.deployment.region, platform.bucket(analysis))
    sent = [f"{bucket}/{prefix(group, folder)}*" for folder in ("inputs", "configs", "submissions")]
    got = [f"{bucket}/{prefix(group, folder)}*" for folder in ("configs", "results")]
    return [
        list_prefix(bucket, f"{group}/"),
        allow(["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], sent),
        allow(["s3:GetObject", "s3:DeleteObject"], got),
    ]


def _reader_grants(platform: Platform, owner: str, analysis: str) -> list[Statement]:
    bucket = names.bucket_arn(platform.deployment.region, platform.bucket(analysis))
    results = prefix(owner, "results")
    return [list_prefix(bucket, results), allow(["s3:GetObject"], f"{bucket}/{results}*")]


def instance_policies(platform: Platform, group: str) -> RolePolicies:
    """Return what a group's instances may do: for each analysis, and to fetch the agent."""
    deployment = platform.deployment
    agent = names.bucket_arn(deployment.region, names.platform_bucket(deployment.name))
    grants = {platform.birth_id(a): _instance_grants(platform, group, a) for a in platform.analyses_of(group)}
    grants["platform"] = [allow(["s3:GetObject"], f"{agent}/{AGENT_PREFIX}*")]
    if outside := platform.groups[group].storage.outside_buckets:
        grants["outside"] = _outside_grants(deployment, outside, ["s3:ListMultipartUploadParts"])
    return fit(grants, names.instance_role(deployment.name, group))


def _instance_grants(platform: Platform, group: str, analysis: str) -> list[Statement]:
    bucket = names.bucket_arn(platform.deployment.region, platform.bucket(analysis))
    read = [f"{bucket}/{prefix(group, folder)}*" for folder in ("inputs", "configs", "results")]
    written = f"{bucket}/{prefix(group, 'results')}*"
    return [
        list_prefix(bucket, f"{group}/"),
        allow(["s3:GetObject"], read),
        allow(["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], written),
    ]


def _outside_grants(deployment: Deployment, buckets: Iterable[str], more: Sequence[str]) -> list[Statement]:
    """Return the grants for storage bypass: data and results in buckets that belong to a group itself."""
    arns = [names.bucket_arn(deployment.region, bucket) for bucket in buckets]
    objects = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", *more]
    return [allow(["s3:ListBucket"], arns), allow(objects, [f"{arn}/*" for arn in arns])]


def runner_policy(platform: Platform) -> str:
    """Return what the watcher and the workers may do: the deployment's own queue, roles and instances.

    The buckets of analyses are not named here: each admits the runner in its own policy (modules/analysis). A wildcard
    such as `demo-*` would reach into a deployment called `demo-2`, and a list would change with every blueprint.
    """
    deployment = platform.deployment
    own = names.bucket_arn(deployment.region, names.platform_bucket(deployment.name))
    statements = [
        allow(["s3:ListBucket", "s3:ListBucketVersions"], own),
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], f"{own}/*"),
        allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueUrl"],
            names.queue_arn(deployment.region, deployment.account, names.queue(deployment.name)),
        ),
        *_runner_instances(deployment),
    ]
    if outside := {bucket for group in platform.groups.values() for bucket in group.storage.outside_buckets}:
        statements += _outside_grants(deployment, outside, ["s3:DeleteObject", "s3:GetObjectVersion"])
    if deployment.cloud is CloudKind.AWS and deployment.state.bucket:
        store = names.bucket_arn(deployment.region, deployment.state.bucket)
        statements += [
            list_prefix(store, JOB_STATES),
            allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], f"{store}/{JOB_STATES}*"),
        ]
    return document(*statements)


def _runner_instances(deployment: Deployment) -> list[Statement]:
    """Return the grants to start instances, to end those of this deployment, and to hand them their role."""
    region, account = deployment.region, deployment.account
    instance_role = names.role_arn(region, account, names.instance_role(deployment.name, "*"))
    user_role = names.role_arn(region, account, names.user_role(deployment.name, "*"))
    tagged = {"StringEquals": {"aws:RequestTag/mayfly:deployment": deployment.name}}
    own = {"StringEquals": {"aws:ResourceTag/mayfly:deployment": deployment.name}}
    part = names.partition(region)
    created = [f"arn:{part}:ec2:*:{account}:{kind}/*" for kind in ("instance", "volume", "security-group")]
    things = ("network-interface", "security-group", "spot-instances-request", "subnet")
    used = [
        *(f"arn:{part}:ec2:*:{account}:{kind}/*" for kind in things),
        f"arn:{part}:ec2:*::image/*",
    ]
    return [
        allow(DESCRIBED, "*"),
        allow(["ec2:DescribeInstanceAttribute", "ec2:GetConsoleOutput"], created[:1], own),
        allow(["ec2:RunInstances", "ec2:CreateSecurityGroup"], created, tagged),
        allow(["ec2:RunInstances"], used),
        allow(["ec2:CreateSecurityGroup"], f"arn:{part}:ec2:*:{account}:vpc/*"),
        allow(
            ["ec2:CreateTags"], created, {"StringEquals": {"ec2:CreateAction": ["RunInstances", "CreateSecurityGroup"]}}
        ),
        allow(
            [
                "ec2:TerminateInstances",
                "ec2:ModifyInstanceAttribute",
                "ec2:DeleteVolume",
                "ec2:DeleteSecurityGroup",
                "ec2:AuthorizeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:CreateTags",
            ],
            created,
            own,
        ),
        allow(["iam:PassRole"], instance_role, {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
        allow(["iam:GetInstanceProfile"], f"arn:{part}:iam::{account}:instance-profile/{deployment.name}-instance-*"),
        allow(["sts:AssumeRole"], user_role),
    ]
