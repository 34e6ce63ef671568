"""Groups against the analyses they opt in to, against each other, and against their budgets."""

from __future__ import annotations

from collections.abc import Iterator

from compiler import names
from compiler.blueprint import Stage
from compiler.check_blueprint import default_price
from compiler.findings import Sources
from compiler.profile import CredentialKind, Group, Role
from compiler.shape import suggest
from compiler.source import FieldPath
from state.errors import SourceError


def check_groups(sources: Sources) -> Iterator[SourceError]:
    """Yield what is wrong with the groups."""
    seen: dict[str, str] = {}
    for group in sources.platform.groups.values():
        yield from _check_analyses(sources, group)
        yield from _check_members(sources, group, seen)
        yield from _check_collaborators(sources, group)
        yield from _check_credentials(sources, group)
        yield from _check_outside_buckets(sources, group)


def warn_about_groups(sources: Sources) -> Iterator[SourceError]:
    """Yield what is allowed and probably not meant."""
    platform = sources.platform
    for group in platform.groups.values():
        if group.members and not any(member.role is Role.OWNER for member in group.members):
            message = "nobody owns this group: nobody is told about its budget."
            way_out = "Give a member `role: owner`."
            yield sources.error(group.place, message, ("members",), way_out=way_out, rule="members")
        for number, analysis in enumerate(group.analyses):
            blueprint = platform.blueprints.get(analysis)
            if blueprint is None:
                continue
            path: FieldPath = ("analyses", number)
            if blueprint.stage is Stage.DRAFT:
                message = f"{analysis!r} is a draft: nobody can run it yet."
                yield sources.error(group.place, message, path, way_out="Wait for its release.", rule="analyses")
            elif not platform.may_use(group.id, analysis):
                way_out = f"Its blueprint must name {group.id!r} in access.groups, or be public."
                message = f"{analysis!r} does not admit this group."
                yield sources.error(group.place, message, path, way_out=way_out, rule="analyses")
            price = default_price(platform.deployment, blueprint)
            if price is not None and price > group.budget.amount:
                budget = f"the budget of {group.budget.amount} USD"
                message = f"{budget} does not cover one default task of {analysis!r}, {price} USD."
                way_out = "Raise it, or leave the analysis out."
                yield sources.error(group.place, message, ("budget", "amount"), way_out=way_out, rule="cost")


def _check_analyses(sources: Sources, group: Group) -> Iterator[SourceError]:
    for number, analysis in enumerate(group.analyses):
        if analysis not in sources.analyses:
            message = f"there is no analysis {analysis!r}."
            way_out = suggest(analysis, sources.analyses) or "Write its blueprint, or leave it out."
            yield sources.error(group.place, message, ("analyses", number), way_out=way_out, rule="analyses")


def _check_members(sources: Sources, group: Group, seen: dict[str, str]) -> Iterator[SourceError]:
    """Hold members to one group each; `seen` is the group of every address so far."""
    for number, member in enumerate(group.members):
        email = member.email.casefold()
        if email in seen:
            message = f"{member.email!r} is already a member of {seen[email]!r}."
            way_out = "A person belongs to one group: it pays for what the person runs."
            path = ("members", number, "email")
            yield sources.error(group.place, message, path, way_out=way_out, rule="members")
        seen.setdefault(email, group.id)


def _check_collaborators(sources: Sources, group: Group) -> Iterator[SourceError]:
    for number, other in enumerate(group.collaborators):
        path: FieldPath = ("collaborators", number)
        if other == group.id:
            message = "is the group itself."
            yield sources.error(group.place, message, path, way_out="Remove it.", rule="collaborators")
        elif other not in sources.groups:
            message, way_out = f"there is no group {other!r}.", suggest(other, sources.groups) or "Leave it out."
            yield sources.error(group.place, message, path, way_out=way_out, rule="collaborators")


def _check_credentials(sources: Sources, group: Group) -> Iterator[SourceError]:
    credentials = group.credentials
    if credentials.kind is CredentialKind.IAM_USER and credentials.pgp_key is None:
        message = "is missing: the secret of an IAM user is never written in the clear."
        way_out = "Give a PGP public key in base64, or use `kind: federated`."
        yield sources.error(group.place, message, ("credentials", "pgp_key"), way_out=way_out, rule="credentials")
    if credentials.kind is CredentialKind.FEDERATED and credentials.pgp_key is not None:
        message = "means nothing for short-lived credentials."
        way_out = "Remove it, or set `kind: iam_user`."
        yield sources.error(group.place, message, ("credentials", "pgp_key"), way_out=way_out, rule="credentials")


def _check_outside_buckets(sources: Sources, group: Group) -> Iterator[SourceError]:
    """Refuse the platform's own buckets as a group's own: they hold what belongs to other groups."""
    if not group.storage.outside_buckets:
        return
    platform = sources.platform
    own = {names.platform_bucket(platform.deployment.name), *map(platform.bucket, platform.blueprints)}
    for number, bucket in enumerate(group.storage.outside_buckets):
        if bucket in own or bucket == platform.deployment.state.bucket:
            message = f"{bucket!r} is a bucket of the platform itself."
            way_out = "Leave it out: jobs without a resultpath work there."
            path: FieldPath = ("storage", "outside_buckets", number)
            yield sources.error(group.place, message, path, way_out=way_out, rule="bucket")
