"""What one file cannot know about itself: everything that the files of a project must agree on.

Each check is a generator of findings, so that a run shows them all. Errors stop everything; warnings do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compiler import names
from compiler.blueprint import Blueprint
from compiler.bounds import find_excess
from compiler.check_blueprint import check_blueprint, default_price, warn_about_blueprint
from compiler.check_deployment import check_deployment, warn_about_deployment
from compiler.check_group import check_groups, warn_about_groups
from compiler.findings import Findings, Sources
from compiler.profile import Group
from compiler.source import FieldPath
from state.errors import SourceError

__all__ = ["Findings", "Sources", "check_sources", "default_price"]

_RULE_OF: Final = {"renamed_from": "id-changed", "name": "name-length", "retention": "retention"}
"""Rule by the field that is more than AWS bears; for `analyses` it is the size of policies."""
_S3_RESERVED_STARTS: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_S3_RESERVED_ENDS: Final = ("-s3alias", "--ol-s3", "--x-s3", "--table-s3")


def check_sources(sources: Sources) -> Findings:
    """Return everything that is wrong between the files of a project."""
    errors: list[SourceError] = []
    warnings: list[SourceError] = []
    errors += check_deployment(sources)
    warnings += warn_about_deployment(sources)
    errors += _check_buckets(sources)
    errors += _check_names(sources)
    for blueprint in sources.platform.blueprints.values():
        errors += check_blueprint(sources, blueprint)
        warnings += warn_about_blueprint(sources, blueprint)
    errors += check_groups(sources)
    warnings += warn_about_groups(sources)
    errors += _check_policies(sources)
    return Findings(errors=tuple(errors), warnings=tuple(warnings))


def _check_buckets(sources: Sources) -> Iterator[SourceError]:
    """Hold bucket names to S3's rules, and to one owner each."""
    platform = sources.platform
    owners = {names.platform_bucket(platform.deployment.name): "the platform itself"}
    for blueprint in platform.blueprints.values():
        bucket = platform.bucket(blueprint.id)
        path: FieldPath = ("bucket",) if blueprint.bucket else ("id",)
        way_out = "Give the analysis a name with `bucket:`."
        if bucket in owners:
            yield sources.error(
                blueprint.place,
                f"the bucket {bucket!r} belongs to {owners[bucket]}.",
                path,
                way_out=way_out,
                rule="bucket",
            )
        owners.setdefault(bucket, f"the analysis {blueprint.id!r}")
        if len(bucket) > names.BUCKET_LIMIT:
            message = f"the bucket {bucket!r} has {len(bucket)} characters; S3 allows {names.BUCKET_LIMIT}."
            yield sources.error(blueprint.place, message, path, way_out=way_out, rule="bucket")
        if bucket.startswith(_S3_RESERVED_STARTS) or bucket.endswith(_S3_RESERVED_ENDS):
            yield sources.error(
                blueprint.place,
                f"the bucket name {bucket!r} is of a kind that S3 keeps for itself.",
                path,
                way_out=way_out,
                rule="bucket",
            )


def _check_names(sources: Sources) -> Iterator[SourceError]:
    """Hold ids to what is reserved, and the names made of them to AWS's limits."""
    platform = sources.platform
    owners: list[Blueprint | Group] = [*platform.blueprints.values(), *platform.groups.values()]
    for owner in owners:
        if owner.id in names.RESERVED_IDS:
            yield sources.error(
                owner.place,
                f"{owner.id!r} is reserved for the platform.",
                ("id",),
                way_out="Choose another.",
                rule="id-reserved",
            )
    for group in platform.groups.values():
        role = names.instance_role(platform.deployment.name, group.id)
        if len(role) > names.ROLE_LIMIT:
            message = f"the role {role!r} has {len(role)} characters; IAM allows {names.ROLE_LIMIT}."
            yield sources.error(
                group.place,
                message,
                ("id",),
                way_out="Shorten the group's id or the deployment's name.",
                rule="name-length",
            )


def _check_policies(sources: Sources) -> Iterator[SourceError]:
    """Measure what would be made; AWS would refuse it only in the middle of an apply."""
    for place, path, message, way_out in find_excess(sources.platform):
        rule = _RULE_OF.get(str(path[0]), "policy-size")
        yield sources.error(place, message, path, way_out=way_out, rule=rule)
