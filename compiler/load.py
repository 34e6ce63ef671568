"""Reads a project: finds its files, checks each, makes values of them, and checks them against each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from compiler.check import check_sources
from compiler.deployment import DEPLOYMENT_FILE
from compiler.findings import Findings, Sources
from compiler.make import make_blueprint, make_deployment, make_group
from compiler.mistakes import check_shape
from compiler.model import Platform
from compiler.release import Release, compare_release
from compiler.source import Document, read_document
from state.errors import Place, SourceError, SourcesError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A project as it was read: `platform` is None when there are errors."""

    platform: Platform | None
    findings: Findings


def load_platform(project: Path) -> Platform:
    """Return what the YAML files of a project say.

    Raises:
        SourcesError: something is wrong; it holds everything that is.
    """
    inspection = inspect_project(project)
    if inspection.platform is None:
        raise SourcesError(inspection.findings.errors)
    return inspection.platform


def inspect_project(project: Path, release: Release | None = None) -> Inspection:
    """Read and check a project, and return all errors and warnings, sorted by place.

    With a release, ids are held to what it had, too.
    """
    reader = _Reader(project=project)
    deployment = reader.read(Path(DEPLOYMENT_FILE), "deployment", make_deployment)
    blueprints, analyses = reader.read_all(_blueprint_files(project, reader.errors), "blueprint", make_blueprint)
    groups, group_ids = reader.read_all(_profile_files(project, reader.errors), "profile", make_group)
    warnings: tuple[SourceError, ...] = ()
    platform = None
    if deployment is not None:
        platform = Platform(project=project, deployment=deployment, blueprints=blueprints, groups=groups)
        sources = Sources(platform=platform, documents=reader.documents, analyses=analyses, groups=group_ids)
        findings = check_sources(sources)
        changes = compare_release(sources, release) if release else Findings()
        reader.errors += [*findings.errors, *changes.errors]
        warnings = (*findings.warnings, *changes.warnings)
    errors = SourcesError(reader.errors).errors
    return Inspection(
        platform=None if errors else platform,
        findings=Findings(errors=errors, warnings=SourcesError(warnings).errors),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file to read, relative to the project, and the id that its place gives it."""

    path: Path
    id: str


def _blueprint_files(project: Path, errors: list[SourceError]) -> list[_File]:
    """Return `blueprints/ID/blueprint.yaml` of every folder; a folder without one is told."""
    found = []
    for folder in _entries(project / "blueprints"):
        if not folder.is_dir():
            continue
        path = folder / "blueprint.yaml"
        shown = path.relative_to(project)
        if folder.is_symlink():
            place = Place(file=folder.relative_to(project).as_posix())
            way_out = "Put the folder itself here."
            errors.append(SourceError("is a symbolic link.", place=place, way_out=way_out, rule="file"))
        elif os.path.lexists(path):
            found.append(_File(path=shown, id=folder.name))
        else:
            place = Place(file=shown.as_posix())
            way_out = "Write it, or remove the folder."
            errors.append(SourceError("is missing.", place=place, way_out=way_out, rule="file"))
    return found


def _profile_files(project: Path, errors: list[SourceError]) -> list[_File]:
    """Return `users/GROUP.yaml`; `.yml` is told, because it would silently mean nothing."""
    found = []
    for path in _entries(project / "users"):
        shown = path.relative_to(project)
        if path.suffix == ".yaml":
            found.append(_File(path=shown, id=path.stem))
        elif path.suffix == ".yml":
            place = Place(file=shown.as_posix())
            way_out = f"Rename it to {path.stem}.yaml."
            errors.append(SourceError("is not read.", place=place, way_out=way_out, rule="file"))
    return found


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted and without hidden files; nothing when it is not there."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))


class _Reader:
    """Reads files one after the other and keeps everything that is wrong with them."""

    def __init__(self, *, project: Path) -> None:
        self.project = project
        self.errors: list[SourceError] = []
        self.documents: dict[str, Document] = {}

    def read(self, path: Path, schema: str, make: Callable[[Document], T], *, id: str | None = None) -> T | None:  # noqa: A002
        """Return the value of one file, or None after noting what is wrong with it."""
        file = path.as_posix()
        try:
            document = read_document(self.project / path, file=file)
        except SourcesError as error:
            self.errors += error.errors
            return None
        self.documents[file] = document
        problems = check_shape(document, schema)
        told = any(problem.field == "id" for problem in problems)
        if id is not None and not told and isinstance(document.data, dict) and document.data.get("id", id) != id:
            message = f"{document.data['id']!r} is not the name of its {_holder(schema)}, {id!r}."
            way_out = "The two must be the same, and never change."
            problems.append(document.error(message, ("id",), way_out=way_out, rule="id-place"))
        self.errors += problems
        return None if problems else make(document)

    def read_all(
        self, files: Iterable[_File], schema: str, make: Callable[[Document], T]
    ) -> tuple[dict[str, T], frozenset[str]]:
        """Return the values of files by id, and the ids of all of them, readable or not."""
        values: dict[str, T] = {}
        ids = set()
        for file in files:
            ids.add(file.id)
            value = self.read(file.path, schema, make, id=file.id)
            if value is not None:
                values[file.id] = value
        return values, frozenset(ids)


def _holder(schema: str) -> str:
    return "folder" if schema == "blueprint" else "file"
