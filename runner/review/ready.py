"""Makes roots ready for Terraform: `init` once for each kind, and what it left behind copied for the others.

All roots of a kind differ in nothing that `init` looks at but in where their state is. Whatever a new Terraform may
think of a copy, planning falls back to a real `init` when it complains.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runner.terraform import Terraform
from state.backend import Backend

STAMP: Final = "mayfly.ready"
BACKEND, MODULES = "terraform.tfstate", "modules/modules.json"
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
        """Start without knowing anything."""
        self._terraform, self._backend = terraform, backend
        self._kinds: dict[str, tuple[str, str]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def make_ready(self, folder: Path, root: str) -> None:
        """Make a root ready, the cheap way when there is one."""
        settings = self._backend.settings(root)
        code = (folder / "main.tf").read_text(encoding="utf-8")
        stamp = hashlib.sha256(json.dumps([settings, code, self._terraform.lock_file()]).encode()).hexdigest()
        data = folder / ".terraform"
        if _read(data / STAMP) == stamp and (data / BACKEND).is_file() and (data / MODULES).is_file():
            return
        kind = root.partition("/")[0]
        with self._one(kind):
            known = self._kinds.get(kind)
            if known is None:
                self.initialise(folder, root)
                known = self._kinds[kind] = (_read(data / BACKEND), _read(data / MODULES))
                (data / STAMP).write_text(stamp)
                return
        self._terraform.link(folder)
        for name, text in ((BACKEND, _adapted(known[0], settings)), (MODULES, known[1])):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text, encoding="utf-8")
        (data / STAMP).write_text(stamp)

    def initialise(self, folder: Path, root: str) -> None:
        """Let Terraform make a root ready."""
        (folder / ".terraform" / STAMP).unlink(missing_ok=True)
        self._terraform.init(folder, self._backend.settings(root))

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


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
