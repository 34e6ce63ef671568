"""Remove what runs made: `.mayfly/` and `build/`. Refuses while something still runs there.

Standard library only, so that it works when `.venv/` is broken or gone.
"""

from __future__ import annotations

import fcntl
import shutil
import stat
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Remove the folders, or name what runs there."""
    running = [lock for lock in sorted((PROJECT / ".mayfly").glob("*/lock")) if is_held(lock)]
    if running:
        for lock in running:
            home = lock.parent.relative_to(PROJECT)
            print(
                f"{home} is in use by process {lock.read_text().strip() or '?'}: stop it first (Ctrl-C there)",
                file=sys.stderr,
            )
        return 1
    for folder in (PROJECT / ".mayfly", PROJECT / "build"):
        remove(folder)
    return 0


def is_held(lock: Path) -> bool:
    """Whether a living process holds this lock file."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it: the image store is read-only on purpose, so make it writable first."""
    if not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IRWXU)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
