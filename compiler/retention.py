"""How long S3 keeps what a group has in an analysis: lifecycle rules, computed.

A rule of S3 knows keys by how they begin, and a group's prefix comes first in ours, so each group has rules of its own.
"""

from __future__ import annotations

from typing import Any, Final

from compiler.blueprint import Blueprint
from compiler.model import Platform
from state.keys import prefix

RULES_LIMIT: Final = 999
"""Lifecycle rules that are left of the 1,000 of a bucket: one is the module's own."""


def retention_rules(platform: Platform, blueprint: Blueprint) -> dict[str, dict[str, Any]]:
    """Return the rules of the bucket of an analysis by their names; none when nothing limits how long data stays.

    Of what the blueprint and the group say the shorter counts. What is deleted before it would be archived is not
    archived.
    """
    keep, rules = blueprint.retention, {}
    for group in platform.groups_of(blueprint.id):
        for folder, own in (("inputs", keep.inputs_days), ("results", keep.results_days)):
            days = min((d for d in (own, group.storage.retention_days) if d is not None), default=None)
            rule: dict[str, Any] = {} if days is None else {"expire_days": days}
            archived = folder == "results" and keep.archive_class is not None
            if archived and (days is None or days > keep.archive_after_days):
                rule |= {"archive_class": keep.archive_class, "archive_days": keep.archive_after_days}
            if rule:
                rules[f"{group.id}-{folder}"] = {"prefix": prefix(group.id, folder), **rule}
    return rules
