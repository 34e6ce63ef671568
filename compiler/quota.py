"""What IAM lets a role hold: policies are measured as AWS counts them, kept in the role, or split into managed ones.

Inline policies live and die with their role and read best, one per analysis, so they are used while they fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compiler import names

INLINE_ROLE_LIMIT: Final = 10_240
"""Characters of all inline policies of one role together, white space not counted."""
MANAGED_LIMIT: Final = 6_144
"""Characters of one managed policy, white space not counted."""
MANAGED_PER_ROLE: Final = 10
"""Managed policies of one role, by default; the module refuses more."""

Statement = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePolicies:
    """The policies of one role: all inline, or, when these would not fit, all managed.

    Attributes:
        inline: documents by the name of the inline policy.
        managed: documents by the name of the managed policy.
    """

    inline: dict[str, str]
    managed: dict[str, str]

    @property
    def excess(self) -> str:
        """What is more than IAM allows, in words with the figures; empty when everything fits."""
        longest = max(map(len, self.managed.values()), default=0)
        if len(self.managed) > MANAGED_PER_ROLE:
            size = measure(self.managed)
            return (
                f"have {size} characters and need {len(self.managed)} managed policies of {MANAGED_LIMIT}; IAM allows "
                f"{MANAGED_PER_ROLE} on one role"
            )
        if longest > MANAGED_LIMIT:
            return f"hold a single grant of {longest} characters; IAM allows {MANAGED_LIMIT} in a managed policy"
        return ""


def document(*statements: Statement) -> str:
    """Return a policy document: sorted and without spaces, so that the same grants are the same bytes."""
    return names.compact_json({"Version": "2012-10-17", "Statement": list(statements)})


def measure(policies: Mapping[str, str]) -> int:
    """Return the characters that AWS counts; our documents hold no white space to leave out."""
    return sum(map(len, policies.values()))


def fit(grants: Mapping[str, Sequence[Statement]], role: str) -> RolePolicies:
    """Return how the grants of a role are kept.

    Args:
        grants: the statements of each inline policy, by its name.
        role: name of the role, from which managed policies get theirs.
    """
    inline = {name: document(*statements) for name, statements in sorted(grants.items())}
    if measure(inline) <= INLINE_ROLE_LIMIT:
        return RolePolicies(inline=inline, managed={})
    managed = {f"{role}-{number}": text for number, text in enumerate(_pack(grants), start=1)}
    return RolePolicies(inline={}, managed=managed)


def _pack(grants: Mapping[str, Sequence[Statement]]) -> list[str]:
    """Fill documents one after the other, in the order of the names; a grant is never torn apart."""
    packed: list[str] = []
    held: list[Statement] = []
    for _, statements in sorted(grants.items()):
        more = merge([*held, *statements])
        if held and len(document(*more)) > MANAGED_LIMIT:
            packed.append(document(*held))
            more = merge(list(statements))
        held = more
    return [*packed, document(*held)] if held else packed


def merge(statements: Sequence[Statement]) -> list[Statement]:
    """Return the same grants in fewer words: statements that differ in their resources only become one."""
    merged: dict[str, Statement] = {}
    for statement in statements:
        rest = {key: value for key, value in statement.items() if key != "Resource"}
        known = merged.setdefault(names.compact_json(rest), {**rest, "Resource": []})
        resource = statement["Resource"]
        added = [resource] if isinstance(resource, str) else resource
        known["Resource"] = sorted({*known["Resource"], *added})
    return [merged[key] for key in sorted(merged)]
