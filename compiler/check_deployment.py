"""The deployment against itself and against what AWS gives an account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compiler.catalogue import instances, regions
from compiler.deployment import CloudKind
from compiler.findings import Sources
from compiler.module import PROVIDER_LOCK, read_provider_lock
from compiler.shape import suggest
from compiler.source import FieldPath
from state.errors import SourceError
from state.vcpus import ELSEWHERE

ROLES_OF_AN_ACCOUNT: Final = 1000
"""IAM's quota; AWS raises it for those who ask."""
ROLES_OF_A_GROUP: Final = 2


def check_deployment(sources: Sources) -> Iterator[SourceError]:
    """Yield what is wrong with mayfly.yaml."""
    deployment = sources.platform.deployment
    if deployment.cloud is CloudKind.AWS and deployment.state.bucket is None:
        yield sources.error(
            deployment.place,
            "is missing: on AWS Terraform's state lives in a bucket.",
            ("state", "bucket"),
            way_out="Name a versioned bucket of yours.",
            rule="deployment",
        )
    if deployment.cloud is CloudKind.EMBEDDED and deployment.state.bucket is not None:
        message = "is for AWS only: the embedded cloud keeps its state in `.mayfly/`."
        yield sources.error(deployment.place, message, ("state", "bucket"), way_out="Remove it.", rule="deployment")
    if deployment.region not in regions():
        message = f"there is no region {deployment.region!r}."
        way_out = suggest(deployment.region, regions(), say_all=False) or "Name one, such as us-east-1."
        yield sources.error(deployment.place, message, ("region",), way_out=way_out, rule="region")
    yield from _check_keys(sources)
    limits = deployment.limits
    if limits.group_instances is not None and limits.group_instances > limits.instances:
        message = f"{limits.group_instances} are more than limits.instances, {limits.instances}."
        way_out = "Lower it, or raise limits.instances."
        yield sources.error(deployment.place, message, ("limits", "per_group"), way_out=way_out, rule="deployment")


def _check_keys(sources: Sources) -> Iterator[SourceError]:
    """Hold what is said by region and by machine to regions and machines that there are: else it would mean nothing."""
    deployment = sources.platform.deployment
    quotas = deployment.limits.vcpus
    told: list[tuple[FieldPath, str]] = [(("prices", region), region) for region in deployment.prices]
    if isinstance(quotas, dict):
        told += [(("limits", "vcpus", region), region) for region in quotas if region != ELSEWHERE]
    for path, region in told:
        if region not in regions():
            way_out = suggest(region, regions(), say_all=False) or "Name one, such as us-east-1."
            message = f"there is no region {region!r}."
            yield sources.error(deployment.place, message, path, way_out=way_out, rule="region", key=True)
    for region, rows in deployment.prices.items():
        for name in sorted(rows.keys() - instances().keys()):
            way_out = suggest(name, instances(), say_all=False) or "Name one, such as m5.large."
            message = f"{name!r} is not an instance type of the catalogue."
            yield sources.error(
                deployment.place, message, ("prices", region, name), way_out=way_out, rule="machine", key=True
            )


def warn_about_deployment(sources: Sources) -> Iterator[SourceError]:
    """Yield what is allowed on AWS and probably not meant."""
    platform = sources.platform
    deployment = platform.deployment
    if deployment.cloud is not CloudKind.AWS:
        return
    if not deployment.network.subnets and not deployment.network.public_ip:
        message = "is not said: without subnets of yours every machine gets a public address."
        if deployment.network.public_ip is False:
            message = "machines without a public address reach nothing from a default VPC as AWS makes it."
        way_out = "Say `network: {public_ip: true}`, or name subnets that lead out through a gateway."
        yield sources.error(deployment.place, message, ("network", "public_ip"), way_out=way_out, rule="public-address")
    if not read_provider_lock(platform.project):
        message = f"has no {PROVIDER_LOCK} beside it: each machine takes the newest provider that it finds."
        way_out = "Let `terraform providers lock` write one, and commit it (docs/aws-setup.md)."
        yield sources.error(deployment.place, message, way_out=way_out, rule="provider-lock")
    roles = ROLES_OF_A_GROUP * len(platform.groups) + 1
    if roles > ROLES_OF_AN_ACCOUNT:
        message = f"{len(platform.groups)} groups make {roles} roles; an account has {ROLES_OF_AN_ACCOUNT} by default."
        way_out = "Ask AWS for more, or split the platform over several accounts."
        yield sources.error(deployment.place, message, ("account",), way_out=way_out, rule="quota")
