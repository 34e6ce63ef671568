"""The hand-written Terraform modules: read as text, copied into every root, so that a root stands on its own."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from state.errors import StateError

PROVIDER_LOCK: Final = ".terraform.lock.hcl"


def read_module(project: Path, name: str) -> dict[str, str]:
    """Return a module's `.tf` files, text by file name, sorted.

    A project may carry modules of its own; else those beside this package are used.

    Raises:
        StateError: there is no such module.
    """
    own = project / "modules" / name
    return dict(_read_folder(own if own.is_dir() else shipped_modules() / name))


def read_provider_lock(project: Path) -> str:
    """Return the project's provider lock, which every root gets a copy of; empty when it carries none.

    It is Terraform's own `.terraform.lock.hcl`, committed beside mayfly.yaml: `terraform providers lock` writes it with
    the checksums of every platform that a team uses. On AWS it binds (runner/provider_lock.py); without one, Terraform
    writes a lock when it prepares a root.
    """
    path = project / PROVIDER_LOCK
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@cache
def read_agent(folder: Path) -> str:
    """Return a digest of the sources of the agent, which decide what an instance does; read once per process.

    They are files beside this package; nothing of them is imported here.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def shipped_agent() -> Path:
    """Return the folder of the agent that comes with this release."""
    return Path(__file__).resolve().parent.parent / "runner" / "iae"


def shipped_modules() -> Path:
    """Return the folder of the modules that come with this release."""
    return Path(__file__).resolve().parent.parent / "modules"


@cache
def _read_folder(folder: Path) -> tuple[tuple[str, str], ...]:
    """Read once per process: a thousand roots share three modules."""
    found = tuple((path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.tf")))
    if not found:
        raise StateError(f"{folder} holds no Terraform module. Restore the folder `modules/` from the repository.")
    return found
