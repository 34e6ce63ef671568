"""EC2's answers and AWS's errors, read into our values: pure functions beside runner/cloud.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from runner.cloud_values import JOB_TAG, TASK_TAG, Instance, Leftover, LeftoverKind
from state.errors import CloudError

_TRANSITION_TIME = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_OVER = frozenset({"terminated", "stopped"})

_CODES = {
    "301": "PermanentRedirect",
    "400": "BadRequest",
    "403": "AccessDenied",
    "404": "NoSuchKey",
    "AWS.SimpleQueueService.NonExistentQueue": "NoSuchQueue",
    "QueueDoesNotExist": "NoSuchQueue",
    "AccessDeniedException": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "UnauthorizedOperation": "AccessDenied",
    "RequestExpired": "ExpiredToken",
    "ExpiredTokenException": "ExpiredToken",
    "AuthFailure": "InvalidClientTokenId",
    "InvalidAccessKeyId": "InvalidClientTokenId",
}
"""One code for one meaning: S3's HEAD has only numbers, and services spell the same thing differently."""

_RETRYABLE = frozenset(
    {
        "DependencyViolation",
        "IncorrectInstanceState",
        "IncorrectState",
        "InsufficientInstanceCapacity",
        "InternalError",
        "InternalFailure",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "Unavailable",
        "VolumeInUse",
    }
)

_WAYS_OUT = {
    "AccessDenied": "The credentials in use do not allow it.",
    "ExpiredToken": "The credentials have expired: sign in again.",
    "InvalidClientTokenId": "The credentials are not known there: check the profile or the keys.",
    "NoSuchBucket": "Was the platform applied? `mayfly apply` makes the buckets.",
    "NoSuchQueue": "Was the platform applied? `mayfly apply` makes the queues.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key.",
}


def read_error(response: Mapping[str, Any], *, service: str, doing: str) -> CloudError:
    """Turn the parsed response of a refused call into one error.

    Args:
        response: botocore's parsed response, with `Error` and `ResponseMetadata`.
        service: boto3's name of the service.
        doing: what was tried, for example `reading s3://bucket/key`.
    """
    said = response.get("Error", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    raw = str(said.get("Code") or status or "Unknown")
    code = _CODES.get(raw, raw)
    message = " ".join(str(said.get("Message") or "").split()).rstrip(".")
    text = f"{doing} failed: {code}" + (f" ({message})" if message and message != code else "")
    way_out = _WAYS_OUT.get(code, "")
    server_side = status >= 500 or status == 429  # noqa: PLR2004 - HTTP's own classes
    return CloudError(
        f"{text}. {way_out}".rstrip(), service=service, code=code, retryable=server_side or code in _RETRYABLE
    )


def read_tags(found: Mapping[str, Any]) -> dict[str, str]:
    """Return a resource's tags as a plain dictionary."""
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags") or ()}


def read_instance(found: Mapping[str, Any]) -> Instance:
    """Turn one instance of DescribeInstances into a value."""
    tags = read_tags(found)
    task = tags.get(TASK_TAG, "")
    state = found["State"]["Name"]
    transition = found.get("StateTransitionReason") or ""
    moment = _TRANSITION_TIME.search(transition)
    ended = datetime.strptime(moment[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if moment else None
    return Instance(
        id=found["InstanceId"],
        job=tags.get(JOB_TAG, ""),
        task=int(task) if task.isascii() and task.isdigit() else -1,
        state=state,
        type=found.get("InstanceType", ""),
        launched=found["LaunchTime"],
        ended=ended if state in _OVER else None,
        reason=(found.get("StateReason") or {}).get("Message") or transition,
        image=found.get("ImageId", ""),
        tags=tags,
        zone=(found.get("Placement") or {}).get("AvailabilityZone", ""),
        spot=found.get("InstanceLifecycle") == "spot",
    )


def read_leftover(kind: LeftoverKind, found: Mapping[str, Any]) -> Leftover:
    """Turn one volume or security group of a Describe answer into a value."""
    tags = read_tags(found)
    identity = found["VolumeId"] if kind is LeftoverKind.VOLUME else found["GroupId"]
    return Leftover(kind=kind, id=identity, job=tags.get(JOB_TAG, ""), created=found.get("CreateTime"), tags=tags)


def leftover_of(instance: Instance) -> Leftover:
    """Return the leftover that an instance is while it is not gone."""
    return Leftover(
        kind=LeftoverKind.INSTANCE, id=instance.id, job=instance.job, created=instance.launched, tags=instance.tags
    )


def newest_image(images: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the id of the image that was registered last; the id decides between two of the same second."""
    found = sorted((str(image.get("CreationDate", "")), str(image["ImageId"])) for image in images)
    return found[-1][1] if found else None
