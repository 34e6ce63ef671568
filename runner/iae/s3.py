"""The object store on S3. Its libraries are imported when the first call needs them: they take a while."""

from __future__ import annotations

import base64
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from runner.iae.store import Copy, OnBytes, Stored, StoreError

_MIB = 1024 * 1024
_PASSING = frozenset(
    {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "ThrottlingException", "TooManyRequests"}
    | {"InternalError", "ServiceUnavailable", "ExpiredToken", "BadDigest", "IncompleteBody", "OperationAborted"}
)
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_SERVER_ERROR = 500
_TICK = 0.2
PAUSES_S = (0.5, 1, 2, 4, 8, 16, 16)
"""Seconds between looks for the role's credentials, which a machine may get later than it boots."""


def connect(region: str, data: Path | None) -> S3Store:
    """Return the store of a region, with the credentials that the instance's role gives.

    Args:
        region: AWS region.
        data: folder with botocore's data files when botocore itself sits in a zip file, where it cannot read them.
    """
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    # botocore asks the metadata service once, for a second: too little for a machine that boots beside many others.
    session.set_config_variable("metadata_service_timeout", 5)
    session.set_config_variable("metadata_service_num_attempts", 3)
    verify = None
    if data is not None:
        session.set_config_variable("data_path", str(data))
        verify = os.environ.get("AWS_CA_BUNDLE") or str(data / "cacert.pem")
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=24,
        signature_version="s3v4",
        user_agent_extra="mayfly-agent",
    )
    for pause in PAUSES_S:
        # A client that was made without credentials never gets any.
        if session.get_credentials() is not None:
            break
        time.sleep(pause)
    return S3Store(session.create_client("s3", region_name=region, config=config, verify=verify))


class S3Store:
    """Objects on S3.

    Args:
        client: an S3 client of botocore.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - botocore makes its classes while it runs
        self._client = client

    def head(self, bucket: str, key: str) -> Stored | None:
        """Return what an object is; None when there is none."""
        try:
            found = self._call(f"s3://{bucket}/{key}", self._client.head_object, Bucket=bucket, Key=key)
        except StoreError as error:
            if error.code in _MISSING:
                return None
            raise
        return Stored(
            key=key, size=found["ContentLength"], etag=found["ETag"].strip('"'), version=found.get("VersionId", "")
        )

    def scan(self, bucket: str, prefix: str) -> Iterator[Stored]:
        """Yield the objects under a prefix in the order of their keys."""
        token: dict[str, str] = {}
        while True:
            call, place = self._client.list_objects_v2, f"s3://{bucket}/{prefix}"
            page = self._call(place, call, Bucket=bucket, Prefix=prefix, **token)
            for found in page.get("Contents", ()):
                yield Stored(key=found["Key"], size=found["Size"], etag=found["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        """Return the first bytes of a small object."""
        place = f"s3://{bucket}/{key}"
        body = self._call(place, self._client.get_object, Bucket=bucket, Key=key)["Body"]
        return bytes(self._call(place, lambda: body.read(limit)))

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Write a small object."""
        place = f"s3://{bucket}/{key}"
        self._call(place, self._client.put_object, Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def download(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        """Fetch objects side by side; see `Store.download`."""

        def start(transfers: Any, copy: Copy, subscribers: list[Any]) -> Any:  # noqa: ANN401
            return transfers.download(bucket, copy.key, str(copy.path), subscribers=subscribers)

        return self._transfer(bucket, copies, start, check, on_bytes)

    def upload(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        """Write files side by side, large ones in parts; see `Store.download`."""

        def start(transfers: Any, copy: Copy, subscribers: list[Any]) -> Any:  # noqa: ANN401
            more = {"ContentType": copy.content_type}
            if copy.crc32:  # of the whole file, also when it goes up in parts: S3 compares, and keeps it
                more["ChecksumCRC32"] = base64.b64encode(bytes.fromhex(copy.crc32)).decode()
            return transfers.upload(str(copy.path), bucket, copy.key, extra_args=more, subscribers=subscribers)

        return self._transfer(bucket, copies, start, check, on_bytes)

    def _transfer(
        self,
        bucket: str,
        copies: Sequence[Copy],
        start: Callable[[Any, Copy, list[Any]], Any],
        check: Callable[[], None],
        on_bytes: OnBytes,
    ) -> list[Copy]:
        from s3transfer.manager import TransferConfig, TransferManager
        from s3transfer.subscribers import BaseSubscriber

        ended: queue.Queue[Copy] = queue.Queue()

        class Listener(BaseSubscriber):
            """Tells the waiting thread that one copy ended, so that it need not poll."""

            def __init__(self, copy: Copy) -> None:
                self.copy = copy

            def on_progress(self, future: object, bytes_transferred: int, **_: object) -> None:  # noqa: ARG002
                on_bytes(bytes_transferred)

            def on_done(self, future: object, **_: object) -> None:  # noqa: ARG002
                ended.put(self.copy)

        # Parts of 16 MiB: eight in flight stay under 150 MB of memory, and s3transfer enlarges them beyond 10,000. What
        # waits for a slow disk is bounded, too (pieces of 256 KiB); by default that would be 256 MB more.
        config = TransferConfig(
            multipart_threshold=32 * _MIB,
            multipart_chunksize=16 * _MIB,
            max_request_concurrency=8,
            max_io_queue_size=128,
        )
        failed: list[Copy] = []
        futures: dict[str, Any] = {}
        transfers = TransferManager(self._client, config)
        try:
            for copy in copies:
                futures[copy.key] = start(transfers, copy, [Listener(copy)])
            for _ in copies:
                copy = _next(ended, check)
                if not self._succeeded(f"s3://{bucket}/{copy.key}", futures[copy.key]):
                    failed.append(copy)
        except BaseException:
            # One by one: shutdown(cancel=True) of s3transfer 0.19 fails when something is still under way.
            for future in futures.values():
                future.cancel()
            transfers.shutdown()
            raise
        transfers.shutdown()
        return failed

    def _succeeded(self, place: str, future: Any) -> bool:  # noqa: ANN401
        """Return whether a transfer succeeded; raise when trying again would not help."""
        from s3transfer.exceptions import RetriesExceededError

        try:
            self._call(place, future.result)
        except RetriesExceededError:
            return False
        except StoreError as error:
            if error.retryable:
                return False
            raise
        return True

    def _call(self, place: str, call: Callable[..., Any], **arguments: object) -> Any:  # noqa: ANN401
        """Call the client, and say its failures in our words."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            passing = code in _PASSING or status >= _SERVER_ERROR
            message = error.response.get("Error", {}).get("Message", "") or code
            raise StoreError(f"{place}: {code}: {message}", code=code, retryable=passing) from error
        except BotoCoreError as error:
            raise StoreError(f"{place}: {error}", code="Unreachable", retryable=True) from error


def _next(ended: queue.Queue[Copy], check: Callable[[], None]) -> Copy:
    while True:
        check()
        try:
            return ended.get(timeout=_TICK)
        except queue.Empty:
            continue
