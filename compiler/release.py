"""Ids against the last release: an id is a name on AWS, so one that changes leaves data behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.findings import Findings, Sources
from compiler.source import FieldPath
from state.errors import Place, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What an earlier revision of a project held.

    Attributes:
        name: how people call it, such as `origin/main`.
        deployment: name of the deployment, or None when it could not be read.
        buckets: the `bucket` of each blueprint by id, None for the default one.
        groups: ids of all groups.
    """

    name: str
    deployment: str | None
    buckets: Mapping[str, str | None]
    groups: frozenset[str]


def compare_release(sources: Sources, release: Release) -> Findings:
    """Return what changed that must not, and what went away."""
    errors = (*_changed_names(sources, release), *_wrong_renames(sources, release))
    return Findings(errors=errors, warnings=tuple(_gone(sources, release)))


def _changed_names(sources: Sources, release: Release) -> Iterator[SourceError]:
    deployment = sources.platform.deployment
    if release.deployment not in (None, deployment.name):
        message = f"was {release.deployment!r} in {release.name}: every bucket and role would be made anew."
        yield sources.error(
            deployment.place, message, ("name",), way_out="Keep the name, or start a new project.", rule="id-changed"
        )
        return
    for blueprint in sources.platform.blueprints.values():
        before = next((b for b in (blueprint.renamed_from, blueprint.id) if b in release.buckets), None)
        if before is None:
            continue
        old = release.buckets[before] or f"{deployment.name}-{before}"
        new = sources.platform.bucket(blueprint.id)
        if old != new:
            path: FieldPath = ("bucket",) if blueprint.bucket else ("id",)
            message = f"the bucket was {old!r} in {release.name} and would be {new!r}: its data would stay behind."
            yield sources.error(
                blueprint.place,
                message,
                path,
                way_out=f"Say `bucket: {old}`, or copy the data first.",
                rule="id-changed",
            )


def _buckets(sources: Sources, release: Release) -> dict[str, str]:
    """Return the bucket of each analysis of a release."""
    deployment = release.deployment or sources.platform.deployment.name
    return {name: bucket or f"{deployment}-{name}" for name, bucket in release.buckets.items()}


def _wrong_renames(sources: Sources, release: Release) -> Iterator[SourceError]:
    """Tell renames of what was not there. `renamed_from` names the first id, so it may be older than the release."""
    held = _buckets(sources, release).values()
    for blueprint in sources.platform.blueprints.values():
        before = blueprint.renamed_from
        known = {before, blueprint.id} & release.buckets.keys() or sources.platform.bucket(blueprint.id) in held
        if before is not None and not known:
            message = f"there was no analysis {before!r} in {release.name}."
            yield sources.error(
                blueprint.place, message, ("renamed_from",), way_out="Remove it, or mend the id.", rule="id-changed"
            )


def _gone(sources: Sources, release: Release) -> Iterator[SourceError]:
    platform = sources.platform
    owned = {platform.bucket(name) for name in platform.blueprints}
    gone = {name for name, bucket in _buckets(sources, release).items() if bucket not in owned}
    for name in sorted(gone - sources.analyses):
        yield SourceError(
            f"was there in {release.name} and is gone: its bucket and all data stay, and nobody can use it.",
            place=Place(file=f"blueprints/{name}/blueprint.yaml"),
            way_out=f"If it has a new id, say `renamed_from: {name}` there.",
            rule="id-changed",
        )
    for name in sorted(release.groups - sources.groups):
        yield SourceError(
            f"was there in {release.name} and is gone: its people lose access, its data stays.",
            place=Place(file=f"users/{name}.yaml"),
            way_out="Restore the file if only the title was to change.",
            rule="id-changed",
        )
