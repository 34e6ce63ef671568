"""The other Pythons of this machine: in pyenv's folder, or on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def find_python(version: str) -> Path | None:
    """Return an interpreter of a version (`3.8`) that works and can speak TLS; None when there is none."""
    return next((path for path in _candidates(version) if _says(path) == version), None)


def _candidates(version: str) -> Iterator[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (path.resolve() for path in sorted(root.glob(f"versions/{version}.*/bin/python{version}")))
    if found := shutil.which(f"python{version}"):
        yield Path(found).resolve()


def _says(python: Path) -> str:
    code = "import ssl, sys; print('.'.join(map(str, sys.version_info[:2])))"
    try:
        return subprocess.run(
            [python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
