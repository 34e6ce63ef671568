"""What the agent needs of an object store, and how that can fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, Protocol

from state.errors import CloudError
from state.values import dataclass

OnBytes = Callable[[int], None]


class StoreError(CloudError):
    """The object store refused, or did not answer."""

    def __init__(self, message: str, *, code: str, retryable: bool) -> None:
        super().__init__(message, service="s3", code=code, retryable=retryable)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One object as the store lists it: key, size in bytes, ETag without quotes, version id where there is one."""

    key: str
    size: int
    etag: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One file to bring from the store to this machine, or the other way.

    The type tells browsers how to show it. With a CRC-32 (8 hexadecimal digits) the store refuses other bytes.
    """

    key: str
    path: Path
    content_type: str = "application/octet-stream"
    crc32: str = ""


class Store(Protocol):
    """Objects in buckets.

    Every method may be called from several threads and raises nothing but StoreError, or OSError for what this
    machine's disk does.
    """

    def head(self, bucket: str, key: str) -> Stored | None:
        """Return what an object is; None when there is none."""
        ...

    def scan(self, bucket: str, prefix: str) -> Iterator[Stored]:
        """Yield the objects under a prefix in the order of their keys."""
        ...

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        """Return the first bytes of a small object."""
        ...

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Write a small object."""
        ...

    def download(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        """Fetch objects side by side.

        Args:
            bucket: where they are.
            copies: what to fetch; the folders of the paths exist.
            check: called a few times per second; what it raises ends the transfer.
            on_bytes: told how many bytes came in.

        Returns:
            the copies that failed in a way that may pass.
        """
        ...

    def upload(self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes) -> list[Copy]:
        """Write files side by side, large ones in parts; otherwise like `download`."""
        ...
