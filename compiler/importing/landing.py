"""Brings an import into a project folder: what is there stays, and nothing is written that would not pass the check."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from compiler.deployment import DEPLOYMENT_FILE
from compiler.importing.findings import Finding, Severity
from compiler.importing.project import Imported, Surroundings, Unit, import_templates
from compiler.load import inspect_project, load_platform
from state.errors import SourceError

TRIES = 10
"""How often an import is made smaller until it passes the check; each try drops at least one thing."""


class Fate(StrEnum):
    """What becomes of the files of a unit."""

    WRITTEN = "written"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """An import that fits into its project.

    Attributes:
        imported: what it makes.
        fates: what becomes of each unit, by its name.
        refused: findings about what was left out because it would not pass the check.
    """

    imported: Imported
    fates: Mapping[str, Fate] = field(default_factory=dict)
    refused: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything there is to say."""
        return (*self.imported.findings, *self.refused)

    def files(self) -> dict[str, str]:
        """Return what is to be written, text by path."""
        wanted = {Fate.WRITTEN, Fate.REPLACED}
        return {p: t for unit in self.imported.units if self.fates[unit.name] in wanted for p, t in unit.files.items()}


def plan_landing(project: Path, raw: Mapping[str, bytes], *, force: bool) -> Landing:
    """Return how the templates in `raw` come into a project; write nothing.

    Raises:
        SourcesError: the project itself is not in order.
    """
    around, refused, left_out = look_around(project), list[Finding](), set[str]()
    for _ in range(TRIES):
        around = replace(around, refused=frozenset(n.removeprefix("blueprints/") for n in left_out))
        imported = import_templates(raw, around)
        imported = replace(imported, units=tuple(unit for unit in imported.units if unit.name not in left_out))
        fates = {unit.name: _fate(project, unit, force=force) for unit in imported.units}
        landing = Landing(imported=imported, fates=fates, refused=tuple(refused))
        errors = _try_out(project, landing.files())
        if not errors:
            return landing
        names, findings = _leave_out(errors)
        refused += findings
        if not names <= fates.keys():
            break  # it does not get on with what is there already
        left_out |= names
    return Landing(imported=replace(imported, units=()), refused=tuple(refused))


def look_around(project: Path) -> Surroundings:
    """Return what an import must fit in with.

    Raises:
        SourcesError: the project's own files are not in order.
    """
    if not (project / DEPLOYMENT_FILE).is_file():
        return Surroundings()
    platform = load_platform(project)
    return Surroundings(
        deployment=platform.deployment.name,
        region=platform.deployment.region,
        analyses={name: platform.bucket(name) for name in platform.blueprints},
        renamed={b.renamed_from: b.id for b in platform.blueprints.values() if b.renamed_from},
        groups=frozenset(platform.groups),
        people={m.email.casefold(): group.id for group in platform.groups.values() for m in group.members},
    )


def write_landing(project: Path, landing: Landing) -> None:
    """Write what is to be written; each file whole or not at all, and never through a link."""
    for path, text in landing.files().items():
        target = project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(target)


def _fate(project: Path, unit: Unit, *, force: bool) -> Fate:
    found = {path: _read(project / path) for path in unit.files}
    if all(text == found[path] for path, text in unit.files.items()):
        return Fate.UNCHANGED
    if any((project / step).is_symlink() for path in unit.files for step in (Path(path), *Path(path).parents)):
        return Fate.KEPT
    if not any(os.path.lexists(project / path) for path in (unit.name, *unit.files)):
        return Fate.WRITTEN
    return Fate.REPLACED if force else Fate.KEPT


def _read(path: Path) -> str | None:
    """Return the text of a regular file; None when there is none that could be ours."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() and not path.is_symlink() else None
    except (OSError, UnicodeDecodeError):
        return None


def _try_out(project: Path, files: Mapping[str, str]) -> list[SourceError]:
    """Return what the check says of a copy of the project with new files in it."""
    if not files:
        return []
    with tempfile.TemporaryDirectory(prefix="mayfly-import-") as temporary:
        copy = Path(temporary)
        for path in _sources(project):
            target = copy / path.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        for name, text in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text, encoding="utf-8", newline="\n")
        return list(inspect_project(copy).findings.errors)


def _sources(project: Path) -> Iterable[Path]:
    """Return the files of a project that its check reads."""
    found = [project / DEPLOYMENT_FILE, *project.glob("users/*.yaml"), *project.glob("blueprints/*/blueprint.yaml")]
    for folder in project.glob("blueprints/*"):
        found += [path for path in folder.glob("*/**/*") if path.relative_to(folder).parts[0] != "example"]
    return [path for path in found if path.is_file()]


def _leave_out(errors: Iterable[SourceError]) -> tuple[set[str], list[Finding]]:
    """Return which units to leave out so that the check may pass, and the findings that say so."""
    found = [
        Finding(
            file=error.place.file,
            field=error.field,
            severity=Severity.ERROR,
            message=f"was not written, because it would not pass the check: {error.message}",
            way_out=error.way_out,
        )
        for error in errors
    ]
    return {one.file.removesuffix("/blueprint.yaml").removesuffix(".yaml") for one in found}, found
