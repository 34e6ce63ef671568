"""Mends what a killed process left half done among the objects; runs before the emulator reads them.

An object is two files: its content, then a sidecar with ETag, size and versions. Killed between the two, the new
content lies beside the old description. The client was never told that it was stored, so either state is right as
long as the two agree.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mayfly.localcloud.home import read_json, write_json

log = logging.getLogger("mayfly.localcloud")
SIDECAR = ".meta.json"
_VERSIONS = ".versions"


def mend_objects(objects: Path) -> int:
    """Make every content agree with its sidecar; return how many had to be mended."""
    torn = [path for path in _contents(objects) if _is_torn(path)]
    for path in torn:
        _mend(objects, path)
        log.warning("%s was being written when the cloud was killed; it has been set right", path)
    for draft in objects.rglob("*.tmp"):
        draft.unlink(missing_ok=True)
    return len(torn)


def _contents(objects: Path) -> Iterator[Path]:
    for account in objects.iterdir() if objects.is_dir() else ():
        if account.name != _VERSIONS:
            yield from (p for p in account.rglob("*") if p.is_file() and not p.name.endswith((SIDECAR, ".tmp")))


def _is_torn(path: Path) -> bool:
    try:
        return path.stat().st_mtime_ns > _sidecar(path).stat().st_mtime_ns
    except FileNotFoundError:
        return not _sidecar(path).exists()


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR)


def _mend(objects: Path, path: Path) -> None:
    described = read_json(_sidecar(path))
    version = str(described.get("version_id") or "")
    kept = objects / _VERSIONS / path.relative_to(objects).parts[0] / path.relative_to(objects).parts[1] / version
    former = kept.joinpath(*path.relative_to(objects).parts[2:])
    if version and former.is_file():
        # The version that the sidecar calls current had just been set aside for a new one: take it back.
        shutil.copyfile(former, path)
        write_json(_sidecar(path), described)
        _agree(path)
        return
    with path.open("rb") as file:
        etag = hashlib.file_digest(file, "md5").hexdigest()
    # Without a sidecar there is no key to go by but the path, which the emulator then derives by itself.
    described |= {"etag": f'"{etag}"', "size": path.stat().st_size, "checksums": {}}
    for entry in described.get("versions", []):
        if entry.get("version_id") == version:
            entry |= {"etag": described["etag"], "size": described["size"], "checksums": {}}
    _sidecar(path).write_text(json.dumps(described), encoding="utf-8")
    _sidecar(path).chmod(0o600)
    _agree(path)


def _agree(path: Path) -> None:
    """Date a sidecar like its content: a clock that was set back must not make a mended object look torn again."""
    content = path.stat()
    os.utime(_sidecar(path), ns=(content.st_atime_ns, content.st_mtime_ns))
