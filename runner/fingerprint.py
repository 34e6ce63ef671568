"""The ETag that S3 will give a file, computed here: whether it is there already can then be seen in a listing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runner.cloud_values import MULTIPART_BYTES, PART_BYTES


def fingerprint(content: Path | bytes) -> str:
    """Return the ETag that an upload by runner.cloud gives this content.

    It is the MD5 of the content, or of its parts' MD5s when it goes up in parts. Buckets that encrypt with a KMS key
    have other ETags; there, every file counts as new.
    """
    if isinstance(content, bytes):
        return _md5(content).hexdigest()
    if content.stat().st_size < MULTIPART_BYTES:
        with content.open("rb") as file:
            return hashlib.file_digest(file, lambda: _md5(b"")).hexdigest()
    parts = []
    with content.open("rb") as file:
        while part := file.read(PART_BYTES):
            parts.append(_md5(part).digest())
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _md5(content: bytes) -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)
