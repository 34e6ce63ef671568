"""What IAM documents allow, as single grants that can be compared: before, after, and what is wider afterwards.

A grant is one action on one resource for one principal under one condition. A wildcard covers what it matches, so a
policy that is only written in another way is not reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from compiler import names
from compiler.review.documents import documents, is_unread, listed, principals, statements
from compiler.review.values import Action, Change


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One thing that is allowed.

    Attributes:
        holder: who holds it: the role of an identity policy, or the principals of a resource policy.
        action: such as `s3:GetObject`; `not: …` for everything but these.
        resource: an ARN, possibly with wildcards.
        condition: compact JSON, or empty.
    """

    holder: str
    action: str
    resource: str
    condition: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Who it is for, on what, and when: what a reader compares the actions of."""
        return self.holder, self.resource, self.condition

    def covers(self, other: Grant) -> bool:
        """Whether this grant allows all that another one does."""
        return (
            self.holder in {other.holder, "*"}
            and self.condition in {"", other.condition}
            and fnmatchcase(other.action.casefold(), _pattern(self.action.casefold()))
            and fnmatchcase(other.resource, _pattern(self.resource))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the grants of one resource change.

    Attributes:
        change: the resource.
        added: grants that nothing covered before, sorted.
        removed: grants that nothing covers afterwards, sorted.
        before: all grants of the root in the places where something is added or removed, sorted.
        after: the same, afterwards.
        unknown: whether a document is known only after the apply.
    """

    change: Change
    added: tuple[Grant, ...]
    removed: tuple[Grant, ...]
    before: tuple[Grant, ...] = ()
    after: tuple[Grant, ...] = ()
    unknown: bool = False


def compare_grants(changes: Iterable[Change]) -> tuple[Difference, ...]:
    """Return how access changes, resource by resource.

    Grants are compared per root over all its documents: one that moves from one policy of a role to another is no
    change of access.
    """
    known = list(changes)
    before = {change.address: set(_grants(change, change.before)) for change in known}
    after = {change.address: set(_grants(change, _left(change))) for change in known}
    all_before, all_after = set[Grant]().union(*before.values()), set[Grant]().union(*after.values())
    found = []
    for change in known:
        added = sorted(g for g in after[change.address] - all_before if not _is_covered(g, all_before))
        removed = sorted(g for g in before[change.address] - all_after if not _is_covered(g, all_after))
        unknown = change.action not in {Action.DELETE, Action.FORGET, Action.NOTHING} and is_unread(change)
        if added or removed or unknown:
            places = {grant.place for grant in (*added, *removed)}
            found.append(
                Difference(
                    change=change,
                    added=tuple(added),
                    removed=tuple(removed),
                    before=_within(all_before, places),
                    after=_within(all_after, places),
                    unknown=unknown,
                )
            )
    return tuple(found)


def _left(change: Change) -> dict[str, Any]:
    """Return the attributes of a resource afterwards; what Terraform only lets go of stays as it is."""
    return change.before if change.action is Action.FORGET else change.after


def _within(grants: set[Grant], places: set[tuple[str, str, str]]) -> tuple[Grant, ...]:
    return tuple(sorted(grant for grant in grants if grant.place in places))


def _is_covered(grant: Grant, others: set[Grant]) -> bool:
    return any(other.covers(grant) for other in others)


@cache
def _pattern(text: str) -> str:
    """Return an IAM pattern for fnmatch: `[` is only a character there."""
    return text.replace("[", "[[]")


def _grants(change: Change, attributes: dict[str, Any]) -> Iterator[Grant]:
    for text in documents(attributes):
        yield from document_grants(text, _holder(change, attributes))


def _holder(change: Change, attributes: dict[str, Any]) -> str:
    """Return who an identity policy belongs to; a resource policy names its principals itself."""
    for name in ("role", "user", "group", "name"):
        if change.kind.startswith("aws_iam_") and isinstance(attributes.get(name), str):
            return str(attributes[name])
    return names_resource(attributes) or without_module(change.address)


def names_resource(attributes: dict[str, Any]) -> str:
    """Return the name of what an attribute set describes, or nothing."""
    for name in ("bucket", "name", "role", "id", "arn"):
        if isinstance(attributes.get(name), str):
            return str(attributes[name])
    return ""


def without_module(address: str) -> str:
    """Return a short form of an address: the part after its module."""
    return address.split(".", 2)[2] if address.startswith("module.") and address.count(".") > 1 else address


def document_grants(text: str, holder: str) -> Iterator[Grant]:
    """Yield the grants of a policy document; `Deny` statements grant nothing. What cannot be read grants `?`."""
    for statement in statements(text):
        if statement.get("Effect") != "Allow":
            continue
        condition = names.compact_json(statement["Condition"]) if statement.get("Condition") else ""
        actions = [*listed(statement.get("Action")), *(f"not: {a}" for a in listed(statement.get("NotAction")))]
        targets = [*listed(statement.get("Resource")), *(f"not: {r}" for r in listed(statement.get("NotResource")))]
        for principal in principals(statement) or [holder]:
            for action in actions:
                for resource in targets or [holder]:
                    yield Grant(principal, action, resource, condition)
