"""What the runner knows of a cloud: plain values, and the one interface that AWS, its emulator and the fake share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from state.errors import StateError

MULTIPART_BYTES = 64 * 1024 * 1024
PART_BYTES = 16 * 1024 * 1024
"""Files of this size and more go up in parts; the parts decide an object's ETag. Small parts keep an emulator small."""

TEXT = "text/plain; charset=utf-8"
OnBytes = Callable[[int], None]
"""Called with the number of bytes that just moved, from a transfer's threads, one call at a time."""

DEPLOYMENT_TAG = "mayfly:deployment"
JOB_TAG = "mayfly:job"
TASK_TAG = "mayfly:task"
DEADLINE_TAG = "mayfly:deadline"
IMAGE_TAG = "mayfly:iae"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """Where a cloud is and who talks to it.

    Attributes:
        region: AWS region.
        account: 12 digits.
        endpoint: URL of an emulator; None for AWS itself.
        ec2_endpoint: the same for EC2 alone; None for the same server as the rest.
        access_key: None leaves finding credentials to AWS's own chain (environment, profile, role).
        secret_key: belongs to `access_key`; never printed.
        session_token: of short-lived credentials; never printed.
    """

    region: str
    account: str
    endpoint: str | None = None
    ec2_endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the `cloud.json` that an embedded cloud writes when it is ready.

        Raises:
            StateError: the file is missing (no embedded cloud runs there) or is not what that cloud writes.
        """
        known = {f.name for f in fields(cls)}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{name: value for name, value in found.items() if name in known})
        except FileNotFoundError:
            raise StateError(f"{path} is missing: no embedded cloud runs here. Start one with `mayfly up`.") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StateError(f"{path} cannot be read ({error}). Restart the embedded cloud.") from None

    @property
    def is_loopback(self) -> bool:
        """Whether every call stays on this machine, so that proxies and certificates do not concern it."""
        return self.endpoint is not None and is_loopback(self.endpoint)

    def endpoint_of(self, service: str) -> str | None:
        """Return the URL that serves `service` (boto3's name), None for AWS's own."""
        return self.ec2_endpoint or self.endpoint if service == "ec2" else self.endpoint

    def environment(self) -> dict[str, str]:
        """Return the `AWS_…` variables that make Terraform, or any SDK, talk to the same cloud.

        For an emulator the person's own AWS files and the metadata service are switched off: a forgotten profile
        must neither break a demo nor lead it to a real account.
        """
        found = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.session_token,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_EC2": self.ec2_endpoint,
        }
        if self.endpoint:
            found |= {
                "AWS_CONFIG_FILE": "/dev/null",
                "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        return {name: value for name, value in found.items() if value}


def is_loopback(url: str) -> bool:
    """Return whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object of a bucket.

    Attributes:
        bucket: its bucket.
        key: its key.
        size: bytes.
        etag: without the quotes that S3 puts around it.
        version: version id; empty in listings and in buckets without versions.
        modified: when it was written, UTC.
    """

    bucket: str
    key: str
    size: int
    etag: str
    version: str
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One delivery of a queued message.

    Attributes:
        id: the same on every delivery.
        receipt: of this delivery; acknowledges it.
        body: text as it was sent.
        attempts: how often it was delivered, this one included.
    """

    id: str
    receipt: str
    body: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance, alive or recently terminated.

    Attributes:
        id: EC2's id.
        job: job id from its tags; empty when it carries none.
        task: task number from its tags; -1 when it carries none.
        state: EC2's word: pending, running, shutting-down, terminated, stopping or stopped.
        type: instance type.
        launched: UTC.
        ended: when it was stopped or terminated, UTC; None while it lives, or when EC2 does not say.
        reason: why it is in this state, EC2's words; may be empty.
        image: AMI id.
        tags: all its tags.
        zone: availability zone.
        spot: whether it is spot capacity, which AWS may take back.
    """

    id: str
    job: str
    task: int
    state: str
    type: str
    launched: datetime
    ended: datetime | None = None
    reason: str = ""
    image: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    spot: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether it can no longer cost anything."""
        return self.state == "terminated"


class LeftoverKind(StrEnum):
    """What a job can leave behind, in the order in which it must be removed."""

    INSTANCE = "instance"
    VOLUME = "volume"
    SECURITY_GROUP = "security-group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A resource of a job that is still there.

    Attributes:
        kind: what it is.
        id: EC2's id.
        job: job id from its tags; empty when it carries none.
        created: UTC; None where EC2 does not say (security groups).
        tags: all its tags, the deadline and an exemption among them.
    """

    kind: LeftoverKind
    id: str
    job: str
    created: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


# Named here because inside a class that has a method `list`, the word means that method.
Messages = list[Message]
Instances = list[Instance]
Leftovers = list[Leftover]


class Cloud(Protocol):
    """The calls that the runner makes to a cloud, and no others.

    Every failure is a `CloudError`: a missing object has code `NoSuchKey`, a missing bucket `NoSuchBucket`, refused
    access `AccessDenied`, a server that does not answer `Unreachable` (retryable). All methods may be called from
    several threads at once.
    """

    def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo | None:
        """Return what an object is; None when it (or its bucket) does not exist."""
        ...

    def read(self, bucket: str, key: str, *, limit: int | None = None, version: str | None = None) -> bytes:
        """Return an object's content, at most its first `limit` bytes."""
        ...

    def checksum(self, bucket: str, key: str) -> str | None:
        """Return the CRC-32 of a whole object that the store keeps, 8 hexadecimal digits; None when it keeps none."""
        ...

    def write(self, bucket: str, key: str, body: bytes, *, content_type: str = TEXT) -> ObjectInfo:
        """Write a small object whole, over whatever was there."""
        ...

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix in the order of their keys, page by page."""
        ...

    def versions(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the newest version of each object under a prefix, with its version id; a page of 1000 is one call."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there counts as deleted."""
        ...

    def upload(self, path: Path, bucket: str, key: str, *, on_bytes: OnBytes | None = None) -> None:
        """Copy a file of any size into a bucket."""
        ...

    def download(self, bucket: str, key: str, path: Path, *, on_bytes: OnBytes | None = None) -> None:
        """Copy an object of any size to a file; the file appears whole or not at all."""
        ...

    def presign(self, bucket: str, key: str, *, seconds: int) -> str:
        """Return a URL that reads one object without credentials for that long."""
        ...

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue; code `NoSuchQueue` when there is none of that name."""
        ...

    def receive(self, queue_url: str, *, wait_s: int, most: int = 10) -> Messages:
        """Wait up to `wait_s` (at most 20) seconds for up to `most` (at most 10) messages."""
        ...

    def acknowledge(self, queue_url: str, receipt: str) -> None:
        """Remove a message from its queue for good."""
        ...

    def acknowledge_all(self, queue_url: str, receipts: Sequence[str]) -> None:
        """Remove messages from their queue for good, ten in a call; one that is refused comes again."""
        ...

    def instances(self, *, deployment: str, job: str | None = None) -> Instances:
        """Return a deployment's (or one job's) instances, recently terminated ones too, sorted by job and task."""
        ...

    def leftovers(self, *, deployment: str, job: str | None = None) -> Leftovers:
        """Return what is still there of a deployment's jobs (or of one job), in the order to remove it."""
        ...

    def remove(self, leftover: Leftover) -> None:
        """Start removing a leftover; one that is gone counts as removed. Retryable while another thing holds it."""
        ...

    def console(self, instance: str) -> str:
        """Return what an instance printed to its console; may lag, and may be empty."""
        ...

    def spot_price(self, instance_type: str, zone: str) -> Decimal | None:
        """Return what spot capacity of a type costs in a zone now, USD per hour; None when EC2 does not say."""
        ...

    def find_image(self, digest: str) -> str | None:
        """Return the AMI that was registered for an IAE's digest."""
        ...

    def register_image(self, *, name: str, digest: str, architecture: str) -> str:
        """Register an AMI for an IAE's digest and return its id; again for the same name gives the same id."""
        ...

    def role_exists(self, name: str) -> bool:
        """Tell whether there is a role. Who may not become it may ask all the same."""
        ...

    def assume_group(self, role_arn: str, session: str) -> CloudSettings:
        """Return short-lived settings that may do what a role may do."""
        ...
