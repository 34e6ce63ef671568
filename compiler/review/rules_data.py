"""Rules on what is kept and how: encryption, buckets that go, tags, images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compiler.review.rules_access import Hits, belongs, existing
from compiler.review.values import Action, Change, RootPlan

TAGS: Final = ("mayfly:deployment", "mayfly:managed-by")
DISKS: Final = ("root_block_device", "ebs_block_device")


def missing_encryption(plan: RootPlan) -> Hits:
    """Find buckets, queues and disks that are not encrypted at rest."""
    settings = [c for c in existing(plan) if c.kind == "aws_s3_bucket_server_side_encryption_configuration"]
    for change in existing(plan):
        after = change.after
        if change.kind == "aws_s3_bucket" and not any(belongs(plan, one, change) for one in settings):
            yield change, "has no server-side encryption configuration."
        elif change.kind == "aws_sqs_queue" and not _is_given(change, "sqs_managed_sse_enabled", "kms_master_key_id"):
            yield change, "is a queue without encryption."
        elif change.kind in {"aws_ebs_volume", "aws_efs_file_system"} and not _is_given(change, "encrypted"):
            yield change, "is not encrypted."
        elif change.kind in {"aws_instance", "aws_launch_template"}:
            disks = [disk for name in DISKS for disk in after.get(name) or () if isinstance(disk, dict)]
            if any(disk.get("encrypted") is False for disk in disks):
                yield change, "has a disk that is not encrypted."


def _is_given(change: Change, *names: str) -> bool:
    return any(change.after.get(name) or name in change.unknown for name in names)


def bucket_destroy(plan: RootPlan) -> Hits:
    """Find buckets that go, and buckets that may go with all that is in them."""
    for change in plan.changes:
        if change.kind != "aws_s3_bucket":
            continue
        if change.action in {Action.DELETE, Action.REPLACE}:
            yield change, f"is {'deleted' if change.action is Action.DELETE else 'replaced'}."
        elif change.after.get("force_destroy") is True:
            yield change, "can be deleted with all objects in it (force_destroy)."


def untagged(plan: RootPlan) -> Hits:
    """Find resources that can carry tags and lack ours."""
    for change in existing(plan):
        if "tags_all" not in change.after and "tags" not in change.after:
            continue
        tags = {**(change.after.get("tags") or {}), **(change.after.get("tags_all") or {})}
        missing = [tag for tag in TAGS if tag not in tags]
        if missing and not {"tags", "tags_all"} <= change.unknown:
            yield change, f"does not carry {' and '.join(missing)}."


def unpinned_images(plan: RootPlan) -> Hits:
    """Find machines whose image is looked up at the time of the apply."""
    field = {"aws_instance": "ami", "aws_launch_template": "image_id"}
    for change in _of_kinds(plan, field):
        image = change.after.get(field[change.kind])
        if not (isinstance(image, str) and image.startswith("ami-")):
            yield change, f"takes its image from {image or 'a look-up at the time of the apply'}."


def _of_kinds(plan: RootPlan, kinds: dict[str, str]) -> Iterator[Change]:
    return (change for change in existing(plan) if change.kind in kinds)
