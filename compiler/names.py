"""Names of everything the platform creates: computed from ids, so that no root ever asks another."""

from __future__ import annotations

import json
from typing import Final

MANAGED_BY: Final = "mayfly"
RESERVED_IDS: Final = frozenset({"platform", "mayfly"})
"""Ids that no group and no analysis may have: `{deployment}-platform` is the platform's own bucket."""

ROLE_LIMIT: Final = 64
BUCKET_LIMIT: Final = 63
"""Characters AWS allows in the name of a role and of a bucket."""


def platform_bucket(deployment: str) -> str:
    """Return the bucket that holds the platform's own objects, such as the agent."""
    return f"{deployment}-platform"


def default_bucket(deployment: str, analysis: str) -> str:
    """Return the bucket of an analysis whose blueprint does not name one."""
    return f"{deployment}-{analysis}"


def queue(deployment: str) -> str:
    """Return the queue that submission events arrive in."""
    return f"{deployment}-events"


def dead_letter_queue(deployment: str) -> str:
    """Return the queue that keeps what could not be read."""
    return f"{deployment}-events-dead"


def rule(deployment: str) -> str:
    """Return the one event rule for the submissions of all analyses."""
    return f"{deployment}-submissions"


def user_role(deployment: str, group: str) -> str:
    """Return the role that the people of a group act as."""
    return f"{deployment}-group-{group}"


def instance_role(deployment: str, group: str) -> str:
    """Return the role, and the instance profile, of every instance that works for a group."""
    return f"{deployment}-instance-{group}"


def runner_role(deployment: str) -> str:
    """Return the role that the watcher and the workers act as."""
    return f"{deployment}-runner"


def partition(region: str) -> str:
    """Return the first part of every ARN of a region: China and the US government have their own."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def bucket_arn(region: str, bucket: str) -> str:
    """Return the ARN of a bucket; S3 names carry neither region nor account."""
    return f"arn:{partition(region)}:s3:::{bucket}"


def role_arn(region: str, account: str, role: str) -> str:
    """Return the ARN of a role."""
    return f"arn:{partition(region)}:iam::{account}:role/{role}"


def queue_arn(region: str, account: str, name: str) -> str:
    """Return the ARN of a queue."""
    return f"arn:{partition(region)}:sqs:{region}:{account}:{name}"


def common_tags(deployment: str, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the tags that everything carries; the platform's own win over the deployment's `tags`."""
    return {**(extra or {}), "mayfly:deployment": deployment, "mayfly:managed-by": MANAGED_BY}


def tidy_json(value: object) -> str:
    """Return JSON for a file that people review: sorted, indented, and the same bytes for the same value.

    Terraform reads strings of a `.tfvars.json` file literally, so no user text needs more quoting than JSON's.
    """
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def compact_json(value: object) -> str:
    """Return JSON for a machine: sorted and without spaces, because IAM counts characters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
