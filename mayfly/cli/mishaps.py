"""What the operating system and the ledger's database refuse, as errors that a person can act on."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import sqlalchemy as sa

from state.errors import EnvironmentMissingError, MayflyError, StateError

SPARE = 1 << 20
"""Bytes without which SQLite cannot work; what it then says may be `disk I/O error`."""
BUGS = (sa.exc.ProgrammingError, sa.exc.IntegrityError, sa.exc.DataError, sa.exc.NotSupportedError)


def explain(error: OSError) -> MayflyError | None:
    """Turn what the operating system refuses into a sentence; None for what only a bug can cause."""
    place = error.filename or "a file"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
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
    if "full" in said or (file.parent.is_dir() and shutil.disk_usage(file.parent).free < SPARE):
        return full_disk(file)
    way_out = "Look at its disk, its owner and its mode, or name another folder with --home."
    return StateError(f"The ledger {file} cannot be used: {said}. {way_out}")


def full_disk(place: Path | str) -> EnvironmentMissingError:
    """Return the error that says that there is no room left at a place."""
    return EnvironmentMissingError(f"{place}: the disk is full. Free some space; `make clean` removes .mayfly/.")
