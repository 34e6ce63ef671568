"""What AWS would refuse only in the middle of an apply, and what would reach into another deployment: told before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from compiler import iam
from compiler.model import Platform
from compiler.quota import INLINE_ROLE_LIMIT
from compiler.retention import RULES_LIMIT, retention_rules
from compiler.source import FieldPath
from state.errors import Place

_LIKE_A_ROLE: Final = re.compile(r"-(group|instance)(-|$)")


class Excess(NamedTuple):
    """One thing that AWS or a neighbour would not bear: where it was said, what is wrong, and the way out."""

    place: Place
    path: FieldPath
    message: str
    way_out: str


def find_excess(platform: Platform, *, most_rules: int = RULES_LIMIT) -> Iterator[Excess]:
    """Yield all of it, with the figures.

    Args:
        platform: what the YAML files say.
        most_rules: lifecycle rules that a bucket may have.
    """
    yield from _names(platform)
    yield from _births(platform)
    yield from _policies(platform)
    for blueprint in platform.blueprints.values():
        rules = len(retention_rules(platform, blueprint))
        if rules > most_rules:
            message = f"makes {rules} lifecycle rules, one per group and folder; S3 allows {most_rules} in a bucket."
            way_out = "Keep data of this analysis without a limit, or split the analysis."
            yield Excess(blueprint.place, ("retention",), message, way_out)


def _names(platform: Platform) -> Iterator[Excess]:
    """A runner may act as `{deployment}-group-*`: a deployment that is called like that would be within its reach."""
    deployment = platform.deployment
    if found := _LIKE_A_ROLE.search(deployment.name):
        message = f"{deployment.name!r} holds {found.group().rstrip('-')!r}, as names of another deployment's roles do."
        yield Excess(deployment.place, ("name",), message, "Choose a name without it.")


def _births(platform: Platform) -> Iterator[Excess]:
    """Two analyses with one birth id would be one root, and one bucket."""
    owners: dict[str, str] = {}
    renamed_last = sorted(platform.blueprints.values(), key=lambda b: (b.renamed_from is not None, b.id))
    for blueprint in renamed_last:
        birth = platform.birth_id(blueprint.id)
        if birth in owners:
            message = f"{birth!r} is the analysis {owners[birth]!r}, which is still there."
            if birth != owners[birth]:
                message = f"{birth!r} is already what {owners[birth]!r} was called before."
            way_out = "Remove this line for an analysis with data of its own, or remove the other blueprint."
            yield Excess(blueprint.place, ("renamed_from",), message, way_out)
        owners.setdefault(birth, blueprint.id)


def _policies(platform: Platform) -> Iterator[Excess]:
    for group in platform.groups.values():
        for who, policies in (
            ("people", iam.user_policies(platform, group.id)),
            ("instances", iam.instance_policies(platform, group.id)),
        ):
            if policies.excess:
                count = len(platform.analyses_of(group.id))
                message = f"the policies of the group's {who} for {count} analyses {policies.excess}."
                yield Excess(group.place, ("analyses",), message, "Opt in to fewer, or split the group.")
    size = len(iam.runner_policy(platform))
    if size > INLINE_ROLE_LIMIT:
        message = f"the runner's policy has {size} characters; IAM allows {INLINE_ROLE_LIMIT} in one role."
        yield Excess(platform.deployment.place, ("name",), message, "Shorten the deployment's name.")
