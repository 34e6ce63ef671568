"""Rules on who may do what: wildcard actions, public access, PassRole, open ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from compiler.review.grants import DOCUMENTS, listed, principals, statements
from compiler.review.values import Action, Change, RootPlan, without_key

Hits = Iterator[tuple[Change, str]]
ANYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})
PUBLIC_ACLS: Final = frozenset({"public-read", "public-read-write", "authenticated-read"})
BLOCKS: Final = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")


def existing(plan: RootPlan) -> Iterator[Change]:
    """Yield the resources that there will be after the plan."""
    return (c for c in plan.changes if c.action not in {Action.DELETE, Action.FORGET, Action.READ})


def allowed(change: Change) -> Iterator[dict[str, Any]]:
    """Yield the statements that allow something, of all documents of a resource."""
    for name in DOCUMENTS:
        text = change.after.get(name)
        if isinstance(text, str):
            yield from (row for row in statements(text) if row.get("Effect") == "Allow")


def wildcard_actions(plan: RootPlan) -> Hits:
    """Find actions that are a whole service, or everything."""
    for change in existing(plan):
        for row in allowed(change):
            wild = [a for a in listed(row.get("Action")) if re.fullmatch(r"\*|[^:]*\*?:\*", a)]
            if row.get("NotAction") is not None:
                wild.append("everything but " + ", ".join(listed(row["NotAction"])))
            if wild:
                yield change, f"allows {', '.join(sorted(wild))}."


def public_access(plan: RootPlan) -> Hits:
    """Find policies for everybody, public ACLs, and buckets without a whole public access block."""
    blocks = [c for c in existing(plan) if c.kind == "aws_s3_bucket_public_access_block"]
    for change in existing(plan):
        for row in allowed(change):
            if "*" in principals(row) and not row.get("Condition"):
                yield change, "allows everybody (Principal *) without a condition."
        if change.after.get("acl") in PUBLIC_ACLS:
            yield change, f"has the ACL {change.after['acl']}."
        if change.after.get("publicly_accessible") is True:
            yield change, "can be reached from the internet (publicly_accessible)."
        if change.kind == "aws_s3_bucket":
            own = [one for one in blocks if belongs(plan, one, change)]
            if not own:
                yield change, "has no public access block."
            for one in own:
                off = [name for name in BLOCKS if one.after.get(name) is not True and name not in one.unknown]
                if off:
                    yield change, f"has a public access block with {', '.join(off)} off."


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
            actions = [a.casefold() for a in listed(row.get("Action"))]
            if not any(a in {"iam:passrole", "iam:pass*", "iam:*", "*"} for a in actions):
                continue
            wide = [r for r in listed(row.get("Resource")) if r.split("/", 1)[-1].split(":")[-1].startswith("*")]
            if wide or row.get("NotResource") is not None:
                yield change, f"may pass any role ({', '.join(wide) or 'NotResource'})."
            elif "iam:passedtoservice" not in str(row.get("Condition", "")).casefold():
                yield change, "may pass its roles to any service: there is no condition on iam:PassedToService."


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
