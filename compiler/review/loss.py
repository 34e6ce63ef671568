"""Finds what may lose data: stores that go, and settings that stop keeping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from compiler.review.grants import names_resource
from compiler.review.values import Action, Change

STORES: Final = {
    "aws_s3_bucket": "bucket",
    "aws_s3_object": "object",
    "aws_sqs_queue": "queue",
    "aws_dynamodb_table": "table",
    "aws_ebs_volume": "volume",
    "aws_efs_file_system": "file system",
    "aws_db_instance": "database",
    "aws_kms_key": "key",
    "aws_cloudwatch_log_group": "log group",
}
"""Resource types that hold data, in words."""
_SETTINGS: Final = {
    "aws_s3_bucket_versioning": "versioning: what is overwritten or deleted can no longer be brought back",
    "aws_s3_bucket_object_lock_configuration": "its object lock: what had to be kept may be deleted",
}
"""Bucket settings that keep data, and what their end means."""
_PERIODS: Final = {
    "aws_sqs_queue": ("message_retention_seconds", "s"),
    "aws_cloudwatch_log_group": ("retention_in_days", "days"),
    "aws_db_instance": ("backup_retention_period", "days"),
    "aws_kms_key": ("deletion_window_in_days", "days"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One way in which a plan may lose data, in a sentence."""

    root: str
    address: str
    text: str


def find_losses(changes: Iterable[Change]) -> tuple[Loss, ...]:
    """Return all that may lose data, in the order of the changes. What is new has nothing to lose yet."""
    known = list(changes)
    new = {(c.root, c.module) for c in known if c.kind == "aws_s3_bucket" and c.action is Action.CREATE}
    return tuple(
        Loss(root=change.root, address=change.address, text=text)
        for change in known
        if change.action is not Action.CREATE or (change.root, change.module) not in new
        for text in _reasons(change)
    )


def _reasons(change: Change) -> Iterator[str]:
    if change.action is Action.FORGET:
        return  # Terraform lets go of it, and it stays as it is
    name = names_resource(change.before) or change.address
    if change.kind in STORES and change.action in {Action.DELETE, Action.REPLACE}:
        forced = f" (forced by {', '.join(change.forces)})" if change.forces else ""
        how = "is deleted" if change.action is Action.DELETE else f"is deleted and made anew, empty{forced}"
        rest = " All objects in it go too: force_destroy is set." if change.before.get("force_destroy") else ""
        yield f"The {STORES[change.kind]} {name} {how}.{rest}"
        return
    frees = change.after.get("force_destroy") and not change.before.get("force_destroy")
    if change.kind == "aws_s3_bucket" and change.action is Action.UPDATE and frees:
        yield f"The bucket {name} may from now on be deleted with all objects in it (force_destroy)."
    if change.kind in _SETTINGS and _is_on(change.kind, change.before) and not _is_on(change.kind, change.after):
        yield f"The bucket {name} loses {_SETTINGS[change.kind]}."
    if change.kind in _PERIODS and change.action is Action.UPDATE:
        field, unit = _PERIODS[change.kind]
        old, new = change.before.get(field), change.after.get(field)
        if isinstance(old, int) and isinstance(new, int) and _shorter(new, old):
            yield f"The {STORES[change.kind]} {name} keeps for {new} {unit} what it kept for {_period(old, unit)}."
    if change.kind == "aws_s3_bucket_lifecycle_configuration" and change.action is not Action.DELETE:
        yield from _expirations(change, name)


def _is_on(kind: str, attributes: dict[str, Any]) -> bool:
    if kind == "aws_s3_bucket_versioning":
        rows = attributes.get("versioning_configuration") or [{}]
        return bool(rows[0].get("status") == "Enabled")
    return bool(attributes)


def _shorter(new: int, old: int) -> bool:
    """Whether a period is shorter; 0 means for ever where AWS allows it."""
    return new != 0 and (old == 0 or new < old)


def _period(value: int, unit: str) -> str:
    return f"{value} {unit}" if value else "ever"


def _expirations(change: Change, name: str) -> Iterator[str]:
    """Yield each rule that deletes objects and did not, or later, before."""
    name = names_resource(change.after) or name
    before, after = _days(change.before), _days(change.after)
    for (rule, which), days in sorted(after.items()):
        old = before.get((rule, which))
        if old is None:
            yield f"The bucket {name} deletes {which} after {days} days (rule {rule}); it kept them for ever."
        elif days < old:
            yield f"The bucket {name} deletes {which} after {days} days (rule {rule}); it kept them for {old}."


def _days(attributes: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return after how many days enabled rules delete what; the clean-up of unfinished uploads is no data."""
    found = {}
    for rule in attributes.get("rule") or ():
        if rule.get("status") != "Enabled":
            continue
        for key, field, which in (
            ("expiration", "days", "objects"),
            ("noncurrent_version_expiration", "noncurrent_days", "old versions"),
        ):
            for row in rule.get(key) or ():
                if isinstance(row.get(field), int) and row[field]:
                    found[str(rule.get("id")), which] = row[field]
    return found
