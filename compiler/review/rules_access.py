"""Rules on who may do what: wildcard actions, public access, PassRole, open ports, policies nobody can read yet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from compiler.review.conditions import CALLERS, SERVICES, is_narrow
from compiler.review.documents import documents, is_unread, listed, principals, statements
from compiler.review.values import Action, Change, RootPlan, without_key

Hits = Iterator[tuple[Change, str]]
ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})
PUBLIC_ACLS: Final = frozenset({"public-read", "public-read-write", "authenticated-read"})
PUBLIC_GROUPS: Final = "acs.amazonaws.com/groups/global/"
"""Part of the address of a grantee of an ACL that is everybody, or everybody who has an account of AWS."""
BLOCKS: Final = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
HANDING_ON: Final = "iam:passrole"
_HARMLESS: Final = re.compile(r"[a-z0-9-]+:(describe|list)[a-z]*\*")
"""Wildcards that only show what there is. `Get*` is not among them: it reads objects, secrets and keys."""
_WIDE_POLICY: Final = re.compile(
    r"arn:[a-z-]+:iam::aws:policy/(.*/)?(AdministratorAccess|PowerUserAccess|\w*FullAccess)"
)
_NAMED_ROLE: Final = re.compile(r"arn:[a-z-]+:iam::[0-9*]*:role/([^*?]+|[^*?]{3}.*)")
"""The ARN of a role, or of those whose names begin in a certain way."""


def existing(plan: RootPlan) -> Iterator[Change]:
    """Yield the resources that there will be after the plan."""
    return (c for c in plan.changes if c.action not in {Action.DELETE, Action.FORGET, Action.READ})


def allowed(change: Change) -> Iterator[dict[str, Any]]:
    """Yield the statements that allow something, of all documents of a resource."""
    for text in documents(change.after):
        yield from (row for row in statements(text) if row.get("Effect") == "Allow")


def wildcard_actions(plan: RootPlan) -> Hits:
    """Find actions that stand for others, except those that only list, and AWS's own policies for whole services."""
    for change in existing(plan):
        for row in allowed(change):
            wild = [a for a in listed(row.get("Action")) if _is_pattern(a) and not _HARMLESS.fullmatch(a.casefold())]
            if row.get("NotAction") is not None:
                wild.append("everything but " + ", ".join(listed(row["NotAction"])))
            if wild:
                yield change, f"allows {', '.join(sorted(wild))}."
        attached = [*listed(change.after.get("policy_arn")), *listed(change.after.get("managed_policy_arns"))]
        for arn in sorted(filter(_WIDE_POLICY.fullmatch, attached)):
            yield change, f"attaches AWS's policy {arn.rpartition('/')[2]}."


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def public_access(plan: RootPlan) -> Hits:
    """Find policies for everybody, public ACLs, and buckets without a whole public access block."""
    blocks = [c for c in existing(plan) if c.kind == "aws_s3_bucket_public_access_block"]
    for change in existing(plan):
        yield from ((change, text) for text in _openings(change))
        if change.kind == "aws_s3_bucket":
            own = [one for one in blocks if belongs(plan, one, change)]
            if not own:
                yield change, "has no public access block."
            for one in own:
                off = [name for name in BLOCKS if one.after.get(name) is not True and name not in one.unknown]
                if off:
                    yield change, f"has a public access block with {', '.join(off)} off."


def _openings(change: Change) -> Iterator[str]:
    """Yield how a resource lets in everybody."""
    for row in allowed(change):
        if row.get("NotPrincipal") is not None:
            yield "allows everybody but a few (NotPrincipal)."
        elif "*" in principals(row) and not is_narrow(row, CALLERS):
            yield "allows everybody (Principal *) without a condition that says who calls."
    if change.after.get("acl") in PUBLIC_ACLS:
        yield f"has the ACL {change.after['acl']}."
    if change.kind.endswith("_acl") and PUBLIC_GROUPS in json.dumps(change.after):
        yield "has an ACL with a grant for everybody."
    if change.after.get("publicly_accessible") is True:
        yield "can be reached from the internet (publicly_accessible)."


def unread_policies(plan: RootPlan) -> Hits:
    """Find policies that the other rules cannot look at."""
    for change in existing(plan):
        if is_unread(change):
            yield change, "has a policy whose text is known only after the apply."


def belongs(plan: RootPlan, setting: Change, bucket: Change) -> bool:
    """Whether a bucket setting is of a bucket: by its name, or by the code while the name is not known yet."""
    named = setting.after.get("bucket")
    if isinstance(named, str) and isinstance(bucket.after.get("bucket"), str):
        return bool(named == bucket.after["bucket"])
    address = without_key(bucket.address)
    refers = plan.references.get(without_key(setting.address), frozenset())
    return any(one == address or one.startswith((f"{address}.", f"{address}[")) for one in refers)


def wide_pass_role(plan: RootPlan) -> Hits:
    """Find iam:PassRole on any role, or to any service."""
    for change in existing(plan):
        for row in allowed(change):
            if not _passes_roles(row):
                continue
            wide = [r for r in listed(row.get("Resource")) if not _NAMED_ROLE.fullmatch(r)]
            if wide or row.get("NotResource") is not None:
                yield change, f"may pass any role ({', '.join(wide) or 'NotResource'})."
            elif not is_narrow(row, SERVICES):
                yield change, "may pass its roles to any service: no condition on iam:PassedToService names one."


def _passes_roles(statement: dict[str, Any]) -> bool:
    """Whether the actions of a statement hold iam:PassRole, however they are written."""
    if statement.get("NotAction") is not None:
        return not any(_covers(one) for one in listed(statement["NotAction"]))
    return any(_covers(one) for one in listed(statement.get("Action")))


def _covers(action: str) -> bool:
    return fnmatchcase(HANDING_ON, action.casefold().replace("[", "[[]"))


def open_ingress(plan: RootPlan) -> Hits:
    """Find security groups that let in the world."""
    for change in existing(plan):
        for row in _ingress_rows(change):
            sources = {
                *listed(row.get("cidr_blocks")),
                *listed(row.get("ipv6_cidr_blocks")),
                *listed(row.get("cidr_ipv4")),
                *listed(row.get("cidr_ipv6")),
            }
            if sources & ANYWHERE:
                yield change, f"lets in {', '.join(sorted(sources & ANYWHERE))} on port {_ports(row)}."


def _ingress_rows(change: Change) -> list[dict[str, Any]]:
    """Return the rules on what comes in that a resource holds or is."""
    if change.kind == "aws_security_group":
        return [row for row in change.after.get("ingress") or () if isinstance(row, dict)]
    alone = change.kind == "aws_security_group_rule" and change.after.get("type") == "ingress"
    return [change.after] if alone or change.kind == "aws_vpc_security_group_ingress_rule" else []


def _ports(row: dict[str, Any]) -> str:
    first, last = row.get("from_port"), row.get("to_port")
    if str(row.get("protocol", row.get("ip_protocol"))) == "-1" or first is None:
        return "any"
    return str(first) if first == last else f"{first} to {last}"
