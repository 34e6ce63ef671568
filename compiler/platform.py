"""The platform's Terraform roots, rendered: `base`, `analyses/ID` and `groups/ID`, as text by path.

A root is thin: a provider, one module call, and variables whose values stand in a `.auto.tfvars.json` file, which
Terraform reads literally. The HCL is the same for every platform but for its header and its backend.

A root of an analysis is called by the id that the analysis was born with, so that a rename finds the same folder and
the same state (docs/decisions/0020-names-outlive-renames.md).
"""

from __future__ import annotations

from typing import Any, Final

from compiler import iam, names
from compiler.blueprint import Blueprint, Stage
from compiler.deployment import CloudKind, Deployment
from compiler.hcl import render_template
from compiler.load import Inspection, inspect_project, load_platform
from compiler.model import Platform, Retired
from compiler.module import read_module, read_provider_lock
from compiler.profile import CredentialKind, Group, Period, Role
from compiler.retention import retention_rules
from compiler.review.atlantis import render_atlantis
from compiler.version import analysis_version

__all__ = ["Inspection", "Platform", "Retired", "inspect_project", "load_platform", "render_platform", "roots"]

Files = dict[str, str]
_LOCK: Final = ".terraform.lock.hcl"
_BUDGET_PERIODS: Final = {Period.MONTHLY: "MONTHLY", Period.YEARLY: "ANNUALLY", Period.TOTAL: "ANNUALLY"}
"""AWS knows no budget for ever; its longest period watches one."""
_MOST_ADDRESSES: Final = 10
"""Addresses that one alert of AWS Budgets may go to."""


def render_platform(platform: Platform) -> Files:
    """Return every file of the generated tree by its path below the build folder, sorted by path.

    The same sources give the same bytes: nothing here reads a clock, the environment or chance.
    """
    files: Files = {}
    for root in roots(platform):
        files |= render_root(platform, root)
    files |= render_atlantis(platform, live_roots(platform))
    if lock := read_provider_lock(platform.project):
        files |= {f"{root}/{_LOCK}": lock for root in {path.rpartition("/main.tf")[0] for path in files} if root}
    return dict(sorted(files.items()))


def roots(platform: Platform) -> tuple[str, ...]:
    """Return the names of all roots in the order in which they may be applied: base makes what the others name."""
    analyses = (f"analyses/{name}" for name in sorted(map(platform.birth_id, platform.blueprints)))
    groups = (f"groups/{name}" for name in sorted(platform.groups))
    return ("base", *analyses, *groups, *(one.root for one in platform.retired))


def live_roots(platform: Platform) -> tuple[str, ...]:
    """Return the roots without those of drafts: a draft is generated and checked, and gets no bucket unasked."""
    drafts = {f"analyses/{platform.birth_id(b.id)}" for b in platform.blueprints.values() if b.stage is Stage.DRAFT}
    return tuple(root for root in roots(platform) if root not in drafts)


def render_root(platform: Platform, root: str) -> Files:
    """Return the files of one root, by their path below the build folder."""
    kind, _, name = root.partition("/")
    for one in platform.retired:
        if one.root == root:
            return render_retired(platform.deployment, one)
    if kind == "base":
        source, values = platform.deployment.place.file, base_values(platform)
    elif kind == "analyses":
        blueprint = platform.born_as(name) or platform.blueprints[name]
        source, values = blueprint.place.file, analysis_values(platform, blueprint)
    else:
        group = platform.groups[name]
        source, values = group.place.file, group_values(platform, group)
    module = {"base": "base", "analyses": "analysis", "groups": "group"}[kind]
    main = render_template(f"{module}.tf.j2", source=source, backend=backend_kind(platform.deployment))
    return {
        f"{root}/main.tf": main,
        f"{root}/{module}.auto.tfvars.json": names.tidy_json(values),
        **{f"{root}/module/{file}": text for file, text in read_module(platform.project, module).items()},
    }


def render_retired(deployment: Deployment, retired: Retired) -> Files:
    """Return the files of a root that lets go of what it made, or destroys it."""
    kind, _, name = retired.root.partition("/")
    module = {"analyses": "analysis", "groups": "group"}[kind]
    source = f"the absence of {'users' if kind == 'groups' else 'blueprints'}/{name}"
    main = render_template(
        "retired.tf.j2",
        source=source,
        backend=backend_kind(deployment),
        address=f"module.{module}",
        destroy="true" if retired.purge or kind == "groups" else "false",
    )
    return {f"{retired.root}/main.tf": main, f"{retired.root}/retired.auto.tfvars.json": _retired_values(deployment)}


def _retired_values(deployment: Deployment) -> str:
    return names.tidy_json(common_values(deployment))


def backend_kind(deployment: Deployment) -> str:
    """Return the type of the backend block; its settings are given at init."""
    return "s3" if deployment.cloud is CloudKind.AWS else "local"


def common_values(deployment: Deployment) -> dict[str, Any]:
    """Return what every root is given: who it belongs to, where it is, and the deployment's own tags."""
    return {"deployment": deployment.name, "region": deployment.region, "tags": deployment.tags}


def _arn_values(deployment: Deployment) -> dict[str, str]:
    """Return what ARNs are composed of, beside the region that every root is given: policies are known when planned."""
    return {"partition": names.partition(deployment.region), "account": deployment.account}


def base_values(platform: Platform) -> dict[str, Any]:
    """Return the values of the base root."""
    deployment = platform.deployment
    return {
        **common_values(deployment),
        **_arn_values(deployment),
        "platform_bucket": names.platform_bucket(deployment.name),
        "queue": names.queue(deployment.name),
        "dead_letter_queue": names.dead_letter_queue(deployment.name),
        "rule": names.rule(deployment.name),
        "runner_role": names.runner_role(deployment.name),
        "runner_policy": iam.runner_policy(platform),
        "trust": sorted(deployment.runner_trust),
        "permissions_boundary": deployment.permissions_boundary,
        **cloud_values(deployment),
    }


def analysis_values(platform: Platform, blueprint: Blueprint) -> dict[str, Any]:
    """Return the values of the root of one analysis."""
    deployment = platform.deployment
    runner = names.role_arn(deployment.region, deployment.account, names.runner_role(deployment.name))
    return {
        **common_values(deployment),
        "analysis": platform.birth_id(blueprint.id),
        "bucket": platform.bucket(blueprint.id),
        "version_id": analysis_version(platform, blueprint.id),
        "partition": names.partition(deployment.region),
        "runner_roles": [runner],
        "cors_origins": sorted(deployment.cors_origins),
        "retention": retention_rules(platform, blueprint),
        "purge": blueprint.purge,
        **cloud_values(deployment),
    }


def group_values(platform: Platform, group: Group) -> dict[str, Any]:
    """Return the values of the root of one group. The account's root is trusted: who may act is then IAM's word."""
    deployment = platform.deployment
    user, instance = iam.user_policies(platform, group.id), iam.instance_policies(platform, group.id)
    return {
        **common_values(deployment),
        **_arn_values(deployment),
        "group": group.id,
        "user_role": names.user_role(deployment.name, group.id),
        "instance_role": names.instance_role(deployment.name, group.id),
        "user_policies": user.inline,
        "user_managed_policies": user.managed,
        "instance_policies": instance.inline,
        "instance_managed_policies": instance.managed,
        "permissions_boundary": deployment.permissions_boundary,
        "budget": budget_values(group) if deployment.cloud is CloudKind.AWS else None,
        "pgp_key": group.credentials.pgp_key if group.credentials.kind is CredentialKind.IAM_USER else None,
        "trust": [f"arn:{names.partition(deployment.region)}:iam::{deployment.account}:root"],
    }


def budget_values(group: Group) -> dict[str, Any] | None:
    """Return what AWS itself is to watch of a group's bill; None for a budget that is not in USD."""
    budget = group.budget
    if budget.currency != "USD":
        return None
    owners = sorted({member.email for member in group.members if member.role is Role.OWNER})
    return {
        "amount": f"{budget.amount:f}",
        "period": _BUDGET_PERIODS[budget.period],
        "alerts": sorted(budget.alerts),
        "emails": owners[:_MOST_ADDRESSES],
    }


def cloud_values(deployment: Deployment) -> dict[str, bool]:
    """Return what differs between AWS and the embedded cloud.

    That one is on loopback, so plain HTTP is no risk there, and it tidies nothing, so lifecycle rules would only make
    the provider wait for a minute.
    """
    on_aws = deployment.cloud is CloudKind.AWS
    return {"require_tls": on_aws, "lifecycle_rules": on_aws}
