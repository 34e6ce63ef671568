"""Job workspaces on disk: written once, kept as evidence, and read for what Terraform knows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from compiler.names import tidy_json
from runner.cloud_values import Cloud
from state.errors import StateError
from state.files import write_whole
from state.keys import ResultKeys

VALUES = "job.auto.tfvars.json"
LOG = "terraform.log"
KEPT = ".kept"
"""Names the copy of a workspace that is the same as what lies here: its ETag."""
EVIDENCE_LIMIT = 64 * 1024 * 1024
"""Bytes of one file that is kept; Terraform's log of a huge job is cut there."""


def write_once(root: Path, files: Mapping[str, str]) -> None:
    """Write a workspace whole or not at all; one that is there stays as it is.

    Raises:
        StateError: the disk is full or the folder may not be written.
    """
    if root.exists():
        return
    draft = root.with_name(f".{root.name}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        for name, text in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        draft.replace(root)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StateError(f"The workspace {root} cannot be written: {error.strerror}. Free some disk space.") from None


def machines_in(state: str, *, tainted: bool = False) -> dict[int, tuple[str, str]]:
    """Return the instance of each task that a Terraform state knows: its address and its id, by the task's number.

    Args:
        state: the text of the state.
        tainted: return those, and only those, that Terraform gave up on while it made them.
    """
    try:
        resources = json.loads(state).get("resources", [])
    except (ValueError, AttributeError):
        return {}
    found: dict[int, tuple[str, str]] = {}
    for resource in resources:
        if resource.get("type") != "aws_instance":
            continue
        path = ".".join(filter(None, [resource.get("module"), resource["type"], resource.get("name", "task")]))
        for one in resource.get("instances", []):
            key, identity = str(one.get("index_key", "")), one.get("attributes", {}).get("id")
            if identity and key.isdigit() and (one.get("status") == "tainted") is tainted:
                found[int(key)] = (f'{path}["{key}"]', str(identity))
    return found


def change_tasks(root: Path, tasks: Mapping[str, object]) -> None:
    """Give a workspace new values for some of its tasks; the file is replaced whole, the others stay as they are."""
    path = root / VALUES
    values = json.loads(path.read_text(encoding="utf-8"))
    values["tasks"] |= tasks
    write_whole(path, tidy_json(values))


def generated_files(root: Path) -> dict[str, str]:
    """Return every file that the compiler wrote into a workspace, text by path."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if _is_evidence(root, path) and path.name != LOG
    }


def file_hashes(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the compiler wrote into a workspace, by its path."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in generated_files(root).items()}


def _is_evidence(root: Path, path: Path) -> bool:
    name = path.relative_to(root).as_posix()
    ours = name.startswith(".terraform/") or ".tfstate" in name or name == KEPT
    return path.is_file() and not path.is_symlink() and not ours


def keep_evidence(cloud: Cloud, root: Path, keys: ResultKeys) -> None:
    """Copy the generated code, the lock file and Terraform's log beside the results.

    The state is left out: what it says is in the certificate, and it may hold what only Terraform should see.
    """
    for path in sorted(root.rglob("*")):
        if _is_evidence(root, path):
            with path.open("rb") as file:
                name = path.relative_to(root).as_posix()
                cloud.write(keys.bucket, keys.workspace + name, file.read(EVIDENCE_LIMIT))
