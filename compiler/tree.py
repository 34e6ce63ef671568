"""Writes generated files below one folder, and remembers which ones it made.

Old or new, never half: files are staged first, then a journal says what is to happen, then they are moved into
place. A crash before the journal leaves the old tree; after it, the next run finishes the move before anything
else. Files that are not in the manifest are never touched, whatever their name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from state.errors import StateError
from state.files import hold

MANIFEST: Final = ".mayfly-manifest.json"
JOURNAL: Final = ".mayfly-journal.json"
STAGE: Final = ".mayfly-stage"
LOCK: Final = ".mayfly-lock"

Made = dict[str, str]
"""SHA-256 by path of each file that was made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What writing a tree changed (or would change): paths below its folder, sorted."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.written or self.removed)


def compare_tree(folder: Path, files: Mapping[str, str]) -> Changes:
    """Return what `write_tree` would change; touch nothing. An interrupted write counts as a change.

    Raises:
        StateError: a file that we did not make is in the way.
    """
    made = {**(_made(folder, MANIFEST) or {}), **(_made(folder, JOURNAL) or {})}
    wanted = {path: _digest(text.encode()) for path, text in files.items()}
    _refuse_strangers(folder, wanted, made)
    written = tuple(sorted(path for path, digest in wanted.items() if _digest_of(folder / path) != digest))
    removed = tuple(sorted(path for path in made.keys() - wanted.keys() if os.path.lexists(folder / path)))
    return Changes(written=written, removed=removed, unchanged=len(wanted) - len(written))


def made_files(folder: Path) -> tuple[str, ...]:
    """Return the paths of all files that were made below a folder, sorted; none when nothing was.

    Raises:
        StateError: the folder's manifest is damaged.
    """
    return tuple(sorted({**(_made(folder, MANIFEST) or {}), **(_made(folder, JOURNAL) or {})}))


def write_tree(folder: Path, files: Mapping[str, str]) -> Changes:
    """Bring the generated files below a folder to `files`; a second call writes nothing.

    Raises:
        StateError: a file that we did not make is in the way, or a path leads out of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / LOCK):
        _finish(folder)
        changes = compare_tree(folder, files)
        wanted = {path: _digest(text.encode()) for path, text in sorted(files.items())}
        if changes or _made(folder, MANIFEST) != wanted:
            _stage(folder, {path: files[path] for path in changes.written})
            _commit(folder / JOURNAL, json.dumps(wanted, indent=1))
            _finish(folder)
        return changes


def _stage(folder: Path, files: Mapping[str, str]) -> None:
    stage = folder / STAGE
    shutil.rmtree(stage, ignore_errors=True)
    for path, text in files.items():
        target = stage / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")


def _finish(folder: Path) -> None:
    """Carry out the journal, if there is one: every step may have been done before."""
    wanted = _made(folder, JOURNAL)
    stage = folder / STAGE
    if wanted is None:
        shutil.rmtree(stage, ignore_errors=True)
        return
    made = _made(folder, MANIFEST) or {}
    for path in sorted(wanted):
        staged = stage / path
        if staged.exists():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)
    for path in sorted(made.keys() - wanted.keys()):
        (folder / path).unlink(missing_ok=True)
        _remove_empty(folder, (folder / path).parent)
    (folder / JOURNAL).replace(folder / MANIFEST)
    shutil.rmtree(stage, ignore_errors=True)


def _remove_empty(folder: Path, path: Path) -> None:
    """Remove folders that became empty, up to but without the tree's own."""
    while path != folder:
        try:
            path.rmdir()
        except OSError:
            return
        path = path.parent


def _refuse_strangers(folder: Path, wanted: Made, made: Made) -> None:
    """Refuse to write over what we did not make, through a link, or outside the folder."""
    sound: set[str] = set()
    for path, digest in wanted.items():
        if path.startswith("/") or ".." in path.split("/"):
            raise StateError(f"{path}: leads out of {folder}.")
        parent = path.rpartition("/")[0]
        while parent and parent not in sound:
            if (folder / parent).is_symlink():
                raise StateError(
                    f"{folder / parent} is a symbolic link. Remove it: generated files are not written through links."
                )
            sound.add(parent)
            parent = parent.rpartition("/")[0]
        if path not in made and os.path.lexists(folder / path) and _digest_of(folder / path) != digest:
            raise StateError(f"{folder / path} was not made by mayfly and is in the way. Move it elsewhere.")


def _made(folder: Path, name: str) -> Made | None:
    path = folder / name
    try:
        made: Made = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateError(f"{path} is damaged. Remove {folder} and compile again.") from error
    return made


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str:
    """Return the digest of a regular file; empty for anything else."""
    return _digest(path.read_bytes()) if path.is_file() and not path.is_symlink() else ""


def _commit(path: Path, text: str) -> None:
    """Write the journal whole or not at all, and see it on the disk before it counts.

    Unlike `write_whole`'s, its draft has a name of its own: the next run takes over what a crash leaves in a tree.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
