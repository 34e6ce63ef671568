"""Says in words what a change of IAM grants means: who may now do what, where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from compiler import names
from compiler.model import Platform
from compiler.review.grants import Difference, Grant
from state.keys import prefix

FOLDERS: Final = ("inputs", "configs", "submissions", "results")
_VERBS: Final = {
    "s3:GetObject": "read",
    "s3:PutObject": "write",
    "s3:DeleteObject": "delete",
    "s3:ListBucket": "list",
    "s3:GetObjectVersion": "read old versions of",
}
_ORDER: Final = ("list", "read", "read old versions of", "write", "delete")


def describe_access(differences: Iterable[Difference], platform: Platform) -> dict[str, tuple[str, ...]]:
    """Return sentences on access by group id; the empty id holds what is no group's."""
    found: dict[str, dict[tuple[str, str, str], set[str]]] = {}
    for difference in differences:
        for sign, grants in (("may now", difference.added), ("may no longer", difference.removed)):
            for grant in grants:
                group, who = _holder(grant, platform)
                verb, where = _VERBS.get(grant.action), _place(grant, platform)
                if verb and where:
                    found.setdefault(group, {}).setdefault((who, sign, where), set()).add(verb)
    return {
        group: tuple(
            f"{who} {sign} {_join(sorted(verbs, key=_ORDER.index))} {where}."
            for (who, sign, where), verbs in sorted(said.items())
        )
        for group, said in sorted(found.items())
    }


def _holder(grant: Grant, platform: Platform) -> tuple[str, str]:
    """Return the group that a grant's holder belongs to, and the holder in words."""
    deployment = platform.deployment.name
    for kind, role in (("People", names.user_role(deployment, "")), ("Instances", names.instance_role(deployment, ""))):
        if grant.holder.startswith(role):
            group = grant.holder.removeprefix(role)
            return group, f"{kind} of group {group}"
    if grant.holder == "*":
        return "", "EVERYBODY"
    return "", grant.holder


def _place(grant: Grant, platform: Platform) -> str:
    """Return what a grant's resource is, in words; empty when it is no bucket of this platform."""
    found = re.fullmatch(r"arn:[a-z-]+:s3:::([^/]+)(?:/(.*))?", grant.resource)
    if not found:
        return ""
    bucket, key = found[1], found[2] or ""
    blueprint = platform.analysis_of(bucket)
    owner = blueprint.id if blueprint else f"the bucket {bucket}"
    if grant.action == "s3:ListBucket":
        return f"its own objects of {owner}" if "s3:prefix" in grant.condition else f"ALL OBJECTS of {owner}"
    group = next((g for g in sorted(platform.groups) if key.startswith(f"{g}/")), None)
    folder = next((f for f in FOLDERS if group and key.startswith(prefix(group, f))), None)
    own = grant.holder in {
        names.user_role(platform.deployment.name, group or ""),
        names.instance_role(platform.deployment.name, group or ""),
    }
    if folder:
        return f"{folder} of {owner}" if own else f"{folder} of {owner} OF GROUP {group}"
    return f"{key or 'objects'} of {owner}" if key != "*" else f"ALL OBJECTS of {owner}"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
