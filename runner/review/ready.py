"""Makes roots ready for Terraform: `init` once for each kind, and what it left behind copied for the others.

All roots of the same code differ in nothing that `init` looks at but in where their state is. What it left is kept for
later runs, too. Whatever a new Terraform may think of a copy, planning falls back to a real `init` when it complains.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runner.terraform import Terraform
from state.backend import Backend
from state.files import write_whole

STAMP: Final = "mayfly.ready"
BACKEND, MODULES = "terraform.tfstate", "modules/modules.json"
LEFT: Final = (BACKEND, MODULES)
"""What `init` leaves in `.terraform/` besides the provider."""
COMMENT: Final = re.compile(r"^#.*\n", re.MULTILINE)
"""A root's first lines name its source."""
UNREADY: Final = (
    "initialization required",
    "initialisation required",
    "module not installed",
    "inconsistent dependency lock file",
    "backend configuration changed",
    "required plugins are not installed",
)
"""What Terraform says, in lower case, of a folder that `init` must look at."""


class Readier:
    """Makes roots ready; one value serves many threads."""

    def __init__(self, terraform: Terraform, backend: Backend) -> None:
        """Start with what earlier runs have kept."""
        self._terraform, self._backend = terraform, backend
        self._kept = terraform.cache / "ready"
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def make_ready(self, folder: Path, root: str) -> None:
        """Make a root ready, the cheap way when there is one."""
        settings, data = self._backend.settings(root), folder / ".terraform"
        kind = self._kind(folder, root)
        stamp = _digest(settings, kind)
        if _read(data / STAMP) == stamp and all((data / name).is_file() for name in LEFT):
            return
        with self._one(kind):
            known = _parse(_read(self._kept / kind))
            if known is None:
                self.initialise(folder, root)
                return
        self._terraform.link(folder)
        for name, text in (known | {BACKEND: _adapted(known[BACKEND], settings)}).items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text, encoding="utf-8")
        (data / STAMP).write_text(stamp)

    def initialise(self, folder: Path, root: str) -> None:
        """Let Terraform make a root ready, and keep what it left for all roots of the same code."""
        settings, data = self._backend.settings(root), folder / ".terraform"
        (data / STAMP).unlink(missing_ok=True)
        self._terraform.init(folder, settings)
        kind = self._kind(folder, root)
        with suppress(OSError):  # a full disk costs the next run a second
            self._kept.mkdir(parents=True, exist_ok=True)
            write_whole(self._kept / kind, json.dumps({name: _read(data / name) for name in LEFT}))
        (data / STAMP).write_text(_digest(settings, kind))

    def _kind(self, folder: Path, root: str) -> str:
        """Return what all roots share for which `init` leaves the same."""
        code = COMMENT.sub("", (folder / "main.tf").read_text(encoding="utf-8"))
        return _digest(sorted(self._backend.settings(root)), code, self._terraform.lock_file())

    @contextmanager
    def _one(self, kind: str) -> Iterator[None]:
        """Let the first root of a kind go ahead; the others wait for what it finds."""
        with self._guard:
            lock = self._locks.setdefault(kind, threading.Lock())
        with lock:
            yield


def _adapted(text: str, settings: dict[str, str]) -> str:
    """Return what `init` keeps of a backend, with another root's settings."""
    kept = json.loads(text)
    config = kept["backend"]["config"]
    for name, value in settings.items():
        config[name] = value == "true" if value in {"true", "false"} else value
    return json.dumps(kept, indent=2)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _parse(text: str) -> dict[str, str] | None:
    """Return what was kept; None when that is nothing, or not what this release keeps."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict) and set(found) == set(LEFT):
            return found
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
