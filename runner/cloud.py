"""The cloud, for the rest of the runner: its values, its interface, and AWS behind it. The only user of boto3."""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from botocore.session import Session as CoreSession

from runner.cloud_machines import Machines
from runner.cloud_reading import read_error
from runner.cloud_values import (
    DEADLINE_TAG,
    DEPLOYMENT_TAG,
    IMAGE_TAG,
    JOB_TAG,
    MULTIPART_BYTES,
    PART_BYTES,
    TASK_TAG,
    TEXT,
    Cloud,
    CloudSettings,
    Instance,
    Instances,
    Leftover,
    LeftoverKind,
    Leftovers,
    Message,
    Messages,
    ObjectInfo,
    OnBytes,
    is_loopback,
)
from state.errors import CloudError, EnvironmentMissingError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

__all__ = [
    "DEADLINE_TAG",
    "DEPLOYMENT_TAG",
    "IMAGE_TAG",
    "JOB_TAG",
    "MULTIPART_BYTES",
    "PART_BYTES",
    "TASK_TAG",
    "TEXT",
    "AwsCloud",
    "Cloud",
    "CloudSettings",
    "Instance",
    "Instances",
    "Leftover",
    "LeftoverKind",
    "Leftovers",
    "Message",
    "Messages",
    "ObjectInfo",
    "OnBytes",
]

_TRANSFER = TransferConfig(
    multipart_threshold=MULTIPART_BYTES,
    multipart_chunksize=PART_BYTES,
    max_concurrency=4,
    preferred_transfer_client="classic",
)
_GROUP_SECONDS = 3600


class AwsCloud(Machines):
    """AWS, or an emulator of it, behind the `Cloud` interface.

    Clients are made when first needed (EC2's alone takes 0.1 s) and are safe to use from several threads.

    Args:
        settings: where the cloud is and who talks to it.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._clients: dict[str, Any] = {}

    # objects

    def head(self, bucket: str, key: str, *, version: str | None = None) -> ObjectInfo | None:
        """Return what an object is; None when it (or its bucket) does not exist."""
        try:
            with self._calling("s3", f"looking at s3://{bucket}/{key}"):
                found = self._s3.head_object(Bucket=bucket, Key=key, **_version(version))
        except CloudError as error:
            if error.code in {"NoSuchKey", "NoSuchVersion", "NoSuchBucket"}:
                return None
            raise
        return ObjectInfo(
            bucket=bucket,
            key=key,
            size=found["ContentLength"],
            etag=found["ETag"].strip('"'),
            version=_version_id(found),
            modified=found["LastModified"],
        )

    def read(self, bucket: str, key: str, *, limit: int | None = None, version: str | None = None) -> bytes:
        """Return an object's content, at most its first `limit` bytes."""
        with self._calling("s3", f"reading s3://{bucket}/{key}"):
            body = self._s3.get_object(Bucket=bucket, Key=key, **_version(version))["Body"]
            try:
                return body.read(limit)
            finally:
                body.close()

    def checksum(self, bucket: str, key: str) -> str | None:
        """Return the CRC-32 of a whole object that the store keeps, 8 hexadecimal digits; None when it keeps none."""
        with self._calling("s3", f"asking for the checksum of s3://{bucket}/{key}"):
            found = self._s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        told = found.get("ChecksumCRC32", "")
        # A checksum of checksums, as older multipart uploads have it, ends with the number of parts.
        return base64.b64decode(told).hex() if told and whole and "-" not in told else None

    def write(self, bucket: str, key: str, body: bytes, *, content_type: str = TEXT) -> ObjectInfo:
        """Write a small object whole, over whatever was there."""
        with self._calling("s3", f"writing s3://{bucket}/{key}"):
            done = self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        date = done["ResponseMetadata"]["HTTPHeaders"].get("date")
        return ObjectInfo(
            bucket=bucket,
            key=key,
            size=len(body),
            etag=done["ETag"].strip('"'),
            version=_version_id(done),
            modified=parsedate_to_datetime(date) if date else datetime.now(UTC),
        )

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix in the order of their keys, page by page."""
        with self._calling("s3", f"listing s3://{bucket}/{prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield ObjectInfo(
                        bucket=bucket,
                        key=found["Key"],
                        size=found["Size"],
                        etag=found["ETag"].strip('"'),
                        version="",
                        modified=found["LastModified"],
                    )

    def versions(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the newest version of each object under a prefix, with its version id; a page of 1000 is one call."""
        with self._calling("s3", f"listing the versions of s3://{bucket}/{prefix}"):
            for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Versions", ()):
                    if found["IsLatest"]:
                        yield ObjectInfo(
                            bucket=bucket,
                            key=found["Key"],
                            size=found["Size"],
                            etag=found["ETag"].strip('"'),
                            version=_version_id(found),
                            modified=found["LastModified"],
                        )

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there counts as deleted."""
        with self._calling("s3", f"deleting s3://{bucket}/{key}"):
            self._s3.delete_object(Bucket=bucket, Key=key)

    def upload(self, path: Path, bucket: str, key: str, *, on_bytes: OnBytes | None = None) -> None:
        """Copy a file of any size into a bucket.

        Raises:
            CloudError: the bucket refused it.
            EnvironmentMissingError: the file cannot be read.
        """
        doing = f"uploading {path} to s3://{bucket}/{key}"
        with self._calling("s3", doing), _using(path, "read"), path.open("rb") as body:
            self._s3.upload_fileobj(body, bucket, key, Callback=_one_at_a_time(on_bytes), Config=_TRANSFER)

    def download(self, bucket: str, key: str, path: Path, *, on_bytes: OnBytes | None = None) -> None:
        """Copy an object of any size to a file; the file appears whole or not at all.

        Raises:
            CloudError: the object is missing or may not be read.
            EnvironmentMissingError: the file cannot be written (no such folder, no room on the disk).
        """
        with self._calling("s3", f"downloading s3://{bucket}/{key}"), _using(path, "write"):
            self._s3.download_file(bucket, key, str(path), Callback=_one_at_a_time(on_bytes), Config=_TRANSFER)

    def presign(self, bucket: str, key: str, *, seconds: int) -> str:
        """Return a URL that reads one object without credentials for that long (at most 7 days)."""
        with self._calling("s3", f"making a URL of s3://{bucket}/{key}"):
            return self._s3.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )

    # queue

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue; code `NoSuchQueue` when there is none of that name."""
        with self._calling("sqs", f"finding the queue {name}"):
            return self._sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def receive(self, queue_url: str, *, wait_s: int, most: int = 10) -> Messages:
        """Wait up to `wait_s` (at most 20) seconds for up to `most` (at most 10) messages."""
        with self._calling("sqs", f"receiving from {queue_url}"):
            found = self._sqs.receive_message(
                QueueUrl=queue_url,
                WaitTimeSeconds=wait_s,
                MaxNumberOfMessages=most,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return [
            Message(
                id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                attempts=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
            )
            for message in found.get("Messages", ())
        ]

    def acknowledge(self, queue_url: str, receipt: str) -> None:
        """Remove a message from its queue for good."""
        with self._calling("sqs", f"acknowledging a message of {queue_url}"):
            self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=receipt)

    def acknowledge_all(self, queue_url: str, receipts: Sequence[str]) -> None:
        """Remove messages from their queue for good, ten in a call; one that is refused comes again."""
        for start in range(0, len(receipts), 10):
            some = [{"Id": str(n), "ReceiptHandle": one} for n, one in enumerate(receipts[start : start + 10])]
            with self._calling("sqs", f"acknowledging {len(some)} messages of {queue_url}"):
                self._sqs.delete_message_batch(QueueUrl=queue_url, Entries=cast("Any", some))

    # people

    def role_exists(self, name: str) -> bool:
        """Tell whether there is a role. Who may not become it may ask all the same."""
        try:
            with self._calling("iam", f"looking for the role {name}"):
                self._iam.get_role(RoleName=name)
        except CloudError as error:
            if error.code == "NoSuchEntity":
                return False
            raise
        return True

    def assume_group(self, role_arn: str, session: str) -> CloudSettings:
        """Return settings that may for one hour do what a role may do; `session` names who, in AWS's own log."""
        with self._calling("sts", f"assuming the role {role_arn}"):
            named = re.sub(r"[^\w+=,.@-]", "-", session, flags=re.ASCII)[:64].ljust(2, "-")
            given = self._sts.assume_role(RoleArn=role_arn, RoleSessionName=named, DurationSeconds=_GROUP_SECONDS)
        keys = given["Credentials"]
        return replace(
            self.settings,
            access_key=keys["AccessKeyId"],
            secret_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
        )

    # inside

    @property
    def _s3(self) -> S3Client:
        return cast("S3Client", self._client("s3"))

    @property
    def _sqs(self) -> SQSClient:
        return cast("SQSClient", self._client("sqs"))

    @property
    def _ec2(self) -> EC2Client:  # what Machines calls
        return cast("EC2Client", self._client("ec2"))

    @property
    def _iam(self) -> IAMClient:
        return cast("IAMClient", self._client("iam"))

    @property
    def _sts(self) -> STSClient:
        return cast("STSClient", self._client("sts"))

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        with self._lock:
            if service not in self._clients:
                self._session = self._session or _session(self.settings)
                make = cast("Callable[..., Any]", self._session.client)
                self._clients[service] = make(service, **_options(self.settings, service))
            return self._clients[service]

    @contextmanager
    def _calling(self, service: str, doing: str) -> Iterator[None]:
        """Turn whatever boto3 raises into a CloudError that says what was being done."""
        doing = doing[:1].upper() + doing[1:]
        try:
            yield
        except ClientError as error:
            raise read_error(cast("Any", error.response), service=service, doing=doing) from error
        except NoCredentialsError as error:
            text = f"{doing} failed: no AWS credentials were found. Set AWS_PROFILE, or sign in with `aws sso login`."
            raise CloudError(text, service=service, code="NoCredentials") from error
        except ParamValidationError as error:
            raise CloudError(f"{doing} failed: {error}", service=service, code="BadRequest") from error
        except (BotoCoreError, Boto3Error) as error:
            where = self.settings.endpoint_of(service) or f"AWS ({self.settings.region})"
            text = f"{doing} failed: no answer from {where} ({error}). Is it running, and is the network up?"
            raise CloudError(text, service=service, code="Unreachable", retryable=True) from error


def _session(settings: CloudSettings) -> boto3.Session:
    """Return a session that, for an emulator, cannot see the person's own AWS files, profile and certificates."""
    if settings.endpoint is None:
        core = CoreSession()
    else:
        nothing = {"config_file": os.devnull, "credentials_file": os.devnull, "profile": None, "ca_bundle": None}
        core = CoreSession(session_vars={name: (None, None, value, None) for name, value in nothing.items()})
    return boto3.Session(
        botocore_session=core,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
    )


def _options(settings: CloudSettings, service: str) -> dict[str, Any]:
    """Return what a client of one service is made with.

    Timeouts are short, because every caller repeats its step; SQS may be silent for a whole long poll of 20 s. On
    loopback there is no proxy to pass and nothing to negotiate. EC2 allows so few calls a second that its client
    slows itself down (adaptive) when it is throttled.
    """
    endpoint = settings.endpoint_of(service)
    near = endpoint is not None and is_loopback(endpoint)
    config = Config(
        connect_timeout=2 if near else 5,
        read_timeout=60 if service == "s3" else 30,
        retries={"mode": "adaptive" if service == "ec2" else "standard", "total_max_attempts": 3 if near else 5},
        max_pool_connections=32,
        proxies={} if near else None,
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "path" if endpoint else "auto"},
        tcp_keepalive=True,
        user_agent_extra="mayfly",
    )
    return {"endpoint_url": endpoint, "config": config}


@contextmanager
def _using(path: Path, action: str) -> Iterator[None]:
    """Turn a failure of the local disk into an error that names the file."""
    try:
        yield
    except BotoCoreError:
        raise  # some of botocore's network errors are OSErrors too
    except OSError as error:
        raise EnvironmentMissingError(f"cannot {action} {path}: {error.strerror or error}") from error


def _one_at_a_time(on_bytes: OnBytes | None) -> OnBytes | None:
    """Let a transfer's threads report one after another, so that callers need no lock of their own."""
    if on_bytes is None:
        return None
    lock = threading.Lock()

    def report(count: int) -> None:
        with lock:
            on_bytes(count)

    return report


def _version(version: str | None) -> Any:  # noqa: ANN401 - the stubs know no "present or absent" argument
    return {"VersionId": version} if version else {}


def _version_id(found: Mapping[str, Any]) -> str:
    """Return an object's version id; S3 says "null" for one written before its bucket kept versions."""
    version = str(found.get("VersionId") or "")
    return "" if version == "null" else version
