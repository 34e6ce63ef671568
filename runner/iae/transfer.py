"""Bring the dataset and the config to this machine, under names that cannot leave their folder."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Callable

from runner.iae.ending import Ending, TaskError
from runner.iae.halt import Halt
from runner.iae.manifest import Source
from runner.iae.store import Copy, OnBytes, Store, Stored, StoreError

OnTrouble = Callable[[str], None]

_DISK_RESERVE = 64 * 1024 * 1024


def fetch(source: Source, folder: Path, *, store: Store, halt: Halt, on_trouble: OnTrouble, on_bytes: OnBytes) -> Path:
    """Fetch an object, or every object of a folder, and return the local path of the file or folder.

    Args:
        source: what to fetch; an object whose version is known must still have it.
        folder: an empty folder to fetch into.
        store: where it is.
        halt: when to give up.
        on_trouble: told why something is tried again.
        on_bytes: told how many bytes came in.

    Raises:
        TaskError: BAD_INPUT when it is missing, changed, or cannot be kept here; DOWNLOAD_FAILED when the store fails.
    """
    try:
        found = halt.persist(lambda: _look(source, store), on_trouble)
        name = PurePosixPath(source.key).name
        target = _place(folder, name, source.key)
        copies = _plan(source, found, target)
        _check_space(folder, sum(item.size for item in found), source.key)
        for copy in copies:
            copy.path.parent.mkdir(parents=True, exist_ok=True)
        pending: Sequence[Copy] = copies

        def move() -> None:
            nonlocal pending
            pending = store.download(source.bucket, pending, halt.check, on_bytes)
            require_all(pending, len(copies), "read")

        halt.persist(move, on_trouble)
    except StoreError as error:
        raise _explain_store(source, error) from error
    except OSError as error:
        raise _explain_disk(source, error) from error
    return target


def require_all(failed: Sequence[Copy], count: int, verb: str) -> None:
    """Raise a StoreError that asks to be tried again when copies failed."""
    if failed:
        message = f"{len(failed)} of {count} files could not be {verb} yet, {failed[0].key} first"
        raise StoreError(message, code="Unreachable", retryable=True)


def _look(source: Source, store: Store) -> list[Stored]:
    """Return what there is to fetch."""
    if source.is_folder:
        # A key that ends in "/" is what web consoles write to show an empty folder; it is not data.
        found = [item for item in store.scan(source.bucket, source.key) if not item.key.endswith("/")]
        if not found:
            raise TaskError(Ending.BAD_INPUT, f"the folder {source.key} is empty or does not exist")
        return found
    item = store.head(source.bucket, source.key)
    if item is None:
        raise TaskError(Ending.BAD_INPUT, f"{source.key} does not exist any more")
    if source.version and source.version.strip('"') not in {item.etag, item.version}:
        raise TaskError(
            Ending.BAD_INPUT,
            f"{source.key} was changed after the job was submitted; submit it again",
        )
    return [item]


def _plan(source: Source, found: Sequence[Stored], target: Path) -> list[Copy]:
    if not source.is_folder:
        return [Copy(key=source.key, path=target)]
    target.mkdir()
    return [Copy(key=item.key, path=_place(target, item.key[len(source.key) :], item.key)) for item in found]


def _place(folder: Path, relative: str, key: str) -> Path:
    """Return where a key's file goes, refusing names that mean another place."""
    parts = relative.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise TaskError(Ending.BAD_INPUT, f"the name {key!r} cannot be a file name here (empty parts, `.` or `..`)")
    return folder.joinpath(*parts)


def _check_space(folder: Path, size: int, key: str) -> None:
    free = shutil.disk_usage(folder).free
    if size + _DISK_RESERVE > free:
        raise TaskError(
            Ending.BAD_INPUT,
            f"{key} has {size / 1e9:.1f} GB and the machine's disk has {free / 1e9:.1f} GB free; "
            "ask for more with `__dataset_size__` in the config",
        )


def _explain_store(source: Source, error: StoreError) -> TaskError:
    if error.code in {"403", "AccessDenied", "Forbidden"}:
        return TaskError(Ending.DOWNLOAD_FAILED, f"the machine is not allowed to read {source.key}")
    if error.code in {"404", "NoSuchKey", "NotFound"}:
        return TaskError(Ending.BAD_INPUT, f"{source.key} does not exist any more")
    return TaskError(Ending.DOWNLOAD_FAILED, f"{source.key} could not be fetched: {error}")


def _explain_disk(source: Source, error: OSError) -> TaskError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        reason = f"{source.key} does not fit on the machine's disk; ask for more with `__dataset_size__` in the config"
    elif error.errno in {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ}:
        reason = f"the names in {source.key} cannot be files beside each other on this machine: {error.strerror}"
    else:
        return TaskError(Ending.DOWNLOAD_FAILED, f"{source.key} could not be written to disk: {error}")
    return TaskError(Ending.BAD_INPUT, reason)
