"""Take what the analysis wrote to the store: plain files only, each with its checksum."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runner.iae.ending import Ending, TaskError
from runner.iae.halt import Halt
from runner.iae.store import Copy, OnBytes, Store, StoreError
from runner.iae.transfer import require_all
from state.values import dataclass

RESERVED = frozenset({"end.txt"})
"""Names that mean something to clients when they stand at the top of the results."""

_LONGEST_KEY = 1024
_BLOCK = 1024 * 1024
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file of the results: path with `/` from the results folder, the real file, bytes."""

    path: str
    file: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """What lies in the results folder.

    Attributes:
        files: what is uploaded, sorted by path.
        refused: what is not, `path (why)`.
    """

    files: tuple[Found, ...]
    refused: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(found.size for found in self.files)


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """One uploaded file, as the report lists it: path, bytes, SHA-256 and CRC-32 in hexadecimal digits."""

    path: str
    size: int
    sha256: str
    crc32: str


def gather(folder: Path, prefix: str) -> Harvest:
    """Look at what the analysis wrote.

    A link is followed only when it leads to a plain file inside the folder: the agent may read files that the analysis
    may not, and a link must not make it publish them.

    Args:
        folder: the results folder; nothing writes to it any more.
        prefix: of the keys to come, for their length.
    """
    root = folder.resolve()
    files: list[Found] = []
    refused: list[str] = []
    for path in sorted(_walk(folder)):
        name = str(path)[len(str(folder)) + 1 :]
        why = _refuse(path, name, root, prefix)
        if why:
            refused.append(f"{name.encode(errors='backslashreplace').decode()} ({why})")
        else:
            file = path.resolve() if path.is_symlink() else path
            files.append(Found(path=name, file=file, size=file.stat().st_size))
    return Harvest(files=tuple(files), refused=tuple(refused))


def check_size(harvest: Harvest, limit: int) -> None:
    """Refuse results that are larger than the blueprint allows.

    Raises:
        TaskError: RESULTS_TOO_LARGE.
    """
    if harvest.size > limit:
        largest = max(harvest.files, key=lambda found: found.size)
        raise TaskError(
            Ending.RESULTS_TOO_LARGE,
            f"the results have {_size(harvest.size)} and the analysis allows {_size(limit)}; "
            f"the largest file is {largest.path} with {_size(largest.size)}; nothing was uploaded",
        )


def upload(
    files: Sequence[Found],
    bucket: str,
    prefix: str,
    *,
    store: Store,
    halt: Halt,
    on_trouble: Callable[[str], None],
    on_bytes: OnBytes,
) -> tuple[Uploaded, ...]:
    """Upload files under a prefix, trying again until the store lists them all or the deadline comes.

    While the machine lives a file that is not there can be sent again; later nobody has it any more.

    Returns:
        what was uploaded, with checksums of the bytes on disk.

    Raises:
        TaskError: UPLOAD_FAILED, or what `halt` raises.
    """
    listed = tuple(_list(found) for found in files)
    copies = [
        Copy(key=prefix + found.path, path=found.file, content_type=_content_type(found.path), crc32=known.crc32)
        for found, known in zip(files, listed)
    ]
    sizes = {prefix + found.path: found.size for found in files}
    pending: Sequence[Copy] = copies

    def move() -> None:
        nonlocal pending
        pending = store.upload(bucket, pending, halt.check, on_bytes)
        require_all(pending, len(files), "written")
        there = {one.key: one.size for one in store.scan(bucket, prefix)} if files else {}
        pending = [copy for copy in copies if there.get(copy.key) != sizes[copy.key]]
        require_all(pending, len(files), "found again")

    try:
        halt.persist(move, on_trouble)
    except StoreError as error:
        raise TaskError(Ending.UPLOAD_FAILED, f"the results could not be uploaded: {error}") from error
    return listed


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        yield from (Path(base) / name for name in (*files, *links))


def _refuse(path: Path, name: str, root: Path, prefix: str) -> str:
    """Return why a path is not uploaded; empty when it is."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if name in RESERVED:
        return "the name belongs to the platform"
    if len(prefix.encode()) + len(encoded) > _LONGEST_KEY or not name.isprintable():
        return "its name is too long or cannot be printed"
    if not path.is_symlink():  # links to folders are not walked into, so this is where it seems to be
        return "" if path.is_file() else "not a plain file"
    return _refuse_link(path, root)


def _refuse_link(path: Path, root: Path) -> str:
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError):
        return "a link to nothing"
    if root not in (real, *real.parents):
        return "a link out of the results folder"
    return "" if stat.S_ISREG(mode) else "not a plain file"


def _content_type(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name)
    return "application/octet-stream" if kind is None or encoding else kind


def _list(found: Found) -> Uploaded:
    sha256, crc32 = checksums(found.file)
    return Uploaded(path=found.path, size=found.size, sha256=sha256, crc32=crc32)


def checksums(path: Path) -> tuple[str, str]:
    """Return the SHA-256 and the CRC-32 of a file, in hexadecimal digits."""
    digest, crc = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            crc = zlib.crc32(block, crc)
    return digest.hexdigest(), f"{crc:08x}"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= _GB / 10 else f"{count / 1e6:.2f} MB"
