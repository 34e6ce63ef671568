"""What the operating system and the ledger's database refuse, as errors that a person can act on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from mayfly.cli.context import Context
from state.errors import EnvironmentMissingError, MayflyError, StateError

SPARE = 1 << 20
"""Bytes without which SQLite cannot work; what it then says may be `disk I/O error`."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BUGS = (sa.exc.ProgrammingError, sa.exc.IntegrityError, sa.exc.DataError, sa.exc.NotSupportedError)


@contextmanager
def told(context: Callable[[], Context]) -> Iterator[None]:
    """Turn what a home's disk and its ledger's database refuse in the block into sentences that name their places.

    Args:
        context: knows the places; asked when something was refused.

    Raises:
        MayflyError: the disk is full, or the database cannot be used.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        known = explain_database(error, context().database)
        if known is None:
            raise
        raise known from error
    except OSError as error:
        # Whoever writes into an open file is not told its name: it may be one of the home, or standard output.
        if error.errno in FULL and error.filename is None and is_full(home := context().home.folder):
            raise full_disk(home) from error
        raise


def explain(error: OSError) -> MayflyError | None:
    """Turn what the operating system refuses into a sentence; None for what only a bug can cause."""
    place = error.filename or "a file"
    if error.errno in FULL:
        return full_disk(place)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return EnvironmentMissingError(
            f"{place}: not permitted ({error.strerror}). Mayfly must be able to write there."
        )
    return None


def explain_database(error: sa.exc.DBAPIError, url: str) -> MayflyError | None:
    """Turn what the ledger's database at a URL refuses into a sentence; None for what only a bug can cause."""
    if isinstance(error, BUGS):
        return None
    place, said = sa.make_url(url), str(error.orig).strip().partition("\n")[0]
    if place.get_backend_name() != "sqlite":
        way_out = "Is it up, and is MAYFLY_DATABASE_URL right?"
        return StateError(f"The ledger {place.render_as_string()} cannot be used: {said}. {way_out}")
    file = Path(place.database or "")
    if "full" in said or is_full(file.parent):
        return full_disk(file)
    way_out = "Look at its disk, its owner and its mode, or name another folder with --home."
    return StateError(f"The ledger {file} cannot be used: {said}. {way_out}")


def is_full(folder: Path) -> bool:
    """Whether nothing can be written into a folder for want of room."""
    return folder.is_dir() and shutil.disk_usage(folder).free < SPARE


def full_disk(place: Path | str) -> EnvironmentMissingError:
    """Return the error that says that there is no room left at a place."""
    return EnvironmentMissingError(f"{place}: the disk is full. Free some space; `make clean` removes .mayfly/.")
