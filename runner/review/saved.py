"""Saved plans: what was approved is what is applied, byte for byte, on the code and the state it was made for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from runner.review.planning import Planned, changed_resources
from runner.terraform import Terraform
from state.backend import Backend
from state.errors import StateError, UsageError

MANIFEST: Final = "plans.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """One root's saved plan.

    Attributes:
        root: its name.
        sha256: of the plan file.
        code: fingerprint of the generated files that it was made of.
        state: identity of the state that it was made for: lineage and serial; empty when there was none.
        changes: what it does to which resource, by address.
    """

    root: str
    sha256: str
    code: str
    state: str
    changes: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlans:
    """A folder of saved plans.

    Attributes:
        folder: where they are.
        deployment: whose they are.
        plans: in the order in which they are applied.
    """

    folder: Path
    deployment: str
    plans: tuple[SavedPlan, ...]

    @property
    def approval(self) -> str:
        """The hash that stands for exactly these plans."""
        return f"sha256:{hashlib.sha256(_manifest(self).encode()).hexdigest()}"

    def file(self, root: str) -> Path:
        """Return where a root's plan is."""
        return self.folder / f"{root}.tfplan"


def save_plans(
    folder: Path, deployment: str, planned: Iterable[Planned], codes: Mapping[str, str], states: Mapping[str, str]
) -> SavedPlans:
    """Write down what plans a folder holds. Roots without changes are left out: there is nothing to apply."""
    rows = []
    for one in planned:
        changes = changed_resources(one.raw)
        if one.file is None:
            continue
        if not changes and not _changes_outputs(one.raw):
            one.file.unlink(missing_ok=True)
            continue
        digest = hashlib.sha256(one.file.read_bytes()).hexdigest()
        rows.append(
            SavedPlan(root=one.root, sha256=digest, code=codes[one.root], state=states[one.root], changes=changes)
        )
    saved = SavedPlans(folder=folder, deployment=deployment, plans=tuple(rows))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(_manifest(saved), encoding="utf-8")
    return saved


def _changes_outputs(raw: Mapping[str, Any]) -> bool:
    outputs = (raw.get("output_changes") or {}).values()
    return any(one.get("actions") != ["no-op"] for one in outputs)


def _manifest(saved: SavedPlans) -> str:
    rows = [asdict(one) for one in saved.plans]
    said = {"format": FORMAT, "deployment": saved.deployment, "plans": rows}
    return json.dumps(said, sort_keys=True, indent=1) + "\n"


def load_plans(folder: Path, deployment: str, approved: str = "") -> SavedPlans:
    """Return the saved plans of a folder, after looking whether they are whole and the approved ones.

    Raises:
        StateError: they are missing, damaged, another deployment's, or not what was approved.
    """
    try:
        said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        saved = SavedPlans(
            folder=folder, deployment=said["deployment"], plans=tuple(SavedPlan(**row) for row in said["plans"])
        )
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no saved plans. Make them with `mayfly plan --save {folder}`.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise StateError(f"{folder / MANIFEST} is damaged. Plan again.") from error
    if saved.deployment != deployment:
        raise StateError(f"{folder} holds plans of the deployment {saved.deployment}, not of {deployment}.")
    if approved and approved != saved.approval:
        raise StateError(
            f"{folder} holds the plans {saved.approval}, and approved is {approved}. Nothing was applied. "
            "Plan again and have that approved."
        )
    for one in saved.plans:
        file = saved.file(one.root)
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != one.sha256:
            raise StateError(f"{file} is missing or not the plan that was saved. Nothing was applied. Plan again.")
    return saved


def fingerprint(folder: Path, settings: Mapping[str, str]) -> str:
    """Identify a generated root: its files, without what Terraform and Atlantis keep there, and where its state is."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        beside = path.suffix == ".tfplan" or any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not beside:
            digest.update(f"{relative}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def state_identity(terraform: Terraform, folder: Path) -> str:
    """Return lineage and serial of a root's state: any change of it changes them. Empty when there is none."""
    text = terraform.pull_state(folder)
    if not text:
        return ""
    said = json.loads(text)
    return f"{said.get('lineage')}/{said.get('serial')}"


def check_code(saved: SavedPlans, build: Path, backend: Backend, roots: Iterable[str]) -> None:
    """Refuse plans of code that is not the code that is here.

    Raises:
        StateError: the YAML has changed since.
    """
    wanted = set(roots)
    changed = [
        one.root
        for one in saved.plans
        if one.root in wanted and fingerprint(build / one.root, backend.settings(one.root)) != one.code
    ]
    if changed:
        raise StateError(
            f"The saved plans of {', '.join(changed)} are stale: the YAML or the modules have changed since. "
            "Nothing was applied. Plan again."
        )
