"""One analysis against itself and against the rest of the project."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from compiler.blueprint import MINUTE, ArchiveClass, Blueprint, Protocol, Stage
from compiler.check_machine import check_machines, warn_about_machines
from compiler.check_protocol import check_protocol
from compiler.deployment import Deployment
from compiler.findings import Sources
from compiler.model import admits
from compiler.parameters import check_parameters
from compiler.prices import quote
from compiler.recipe import check_recipe
from compiler.shape import suggest
from compiler.source import FieldPath
from state.errors import SourceError
from state.usage import cost

IA_DAYS: Final = 30
"""Days that S3 keeps an object in its first class before it may move to STANDARD_IA."""
ENSEMBLE_KEYS: Final = frozenset({"mode", "ensemble_size", "jobnb"})
"""Keys of a config that speak to the protocol `ensemble`, beside the `__…__` ones of every protocol."""


def check_blueprint(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield what is wrong with a blueprint."""
    yield from check_machines(sources, blueprint)
    yield from _check_limits(sources, blueprint)
    yield from _check_parameters(sources, blueprint)
    yield from check_protocol(sources, blueprint)
    yield from _check_recipe(sources, blueprint)
    yield from _check_retention(sources, blueprint)
    yield from _check_rename(sources, blueprint)
    yield from _check_access(sources, blueprint)


def warn_about_blueprint(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield what is allowed and probably not meant."""
    place = blueprint.place
    yield from warn_about_machines(sources, blueprint)
    groups = sources.platform.groups.values()
    if blueprint.stage is Stage.PRIVATE and not any(admits(blueprint, group) for group in groups):
        message = "nobody can use this private analysis."
        way_out = "Name a group in access.groups, or make the stage public."
        yield sources.error(place, message, ("access",), way_out=way_out, rule="access")
    if blueprint.stage is Stage.PUBLIC and (blueprint.access.groups or blueprint.access.users):
        message = "means nothing while the stage is public: every group may opt in."
        yield sources.error(place, message, ("access",), way_out="Remove it, or make it private.", rule="access")
    most = sources.platform.deployment.limits.instances
    given = sources.documents[place.file].data.get("limits", {})
    if blueprint.stage is not Stage.DRAFT and "instances" in given and blueprint.limits.instances > most:
        message = f"{blueprint.limits.instances} are more than the whole platform may use at once, {most}."
        way_out = "Lower it, or raise limits.instances of mayfly.yaml."
        yield sources.error(place, message, ("limits", "instances"), way_out=way_out, rule="limits")
    price = default_price(sources.platform.deployment, blueprint)
    if price is not None and price > blueprint.limits.cost:
        message = f"one default task may cost {price} USD, more than a job may, {blueprint.limits.cost} USD."
        yield sources.error(place, message, ("limits", "cost"), way_out="Raise it, or lower duration.", rule="cost")


def default_price(deployment: Deployment, blueprint: Blueprint) -> Decimal | None:
    """Return what one default task may cost at most, USD; None when its machine has no price."""
    first = blueprint.resources[0]
    found = quote(deployment, first.instance_type, first.region)
    return cost(found.hourly_usd, blueprint.limits.duration_s) if found else None


def _check_limits(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    limits, inputs, place = blueprint.limits, blueprint.inputs, blueprint.place
    if limits.duration_s > limits.max_duration_s:
        message = (
            f"{limits.duration_s // MINUTE} minutes are more than max_duration, {limits.max_duration_s // MINUTE}."
        )
        way_out = "Raise max_duration or lower duration."
        yield sources.error(place, message, ("limits", "duration"), way_out=way_out, rule="limits")
    if inputs.min_bytes > inputs.max_bytes:
        message = "is more than max_gb: no dataset would be accepted."
        yield sources.error(place, message, ("inputs", "min_mb"), way_out="Lower it.", rule="limits")


def _check_parameters(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    for rule, path, message, way_out in check_parameters(blueprint.parameters):
        yield sources.error(blueprint.place, message, ("parameters", *path), way_out=way_out, rule=rule)
    if blueprint.protocol is Protocol.ENSEMBLE:
        properties = blueprint.parameters.get("properties", {})
        for name in sorted(ENSEMBLE_KEYS & properties.keys() if isinstance(properties, dict) else ()):
            path = ("parameters", "properties", name)
            message = "is reserved: the protocol ensemble reads it itself."
            yield sources.error(
                blueprint.place, message, path, way_out="Use another name.", rule="parameters-reserved", key=True
            )


def _check_recipe(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Hold what can run to a recipe that is complete; a draft may still be without."""
    folder = sources.platform.project / Path(blueprint.place.file).parent
    if blueprint.stage is Stage.DRAFT and not (folder / blueprint.environment.recipe).is_dir():
        return
    more: dict[FieldPath, str] = {}
    if blueprint.ensemble and blueprint.ensemble.entry_point:
        more["ensemble", "entry_point"] = blueprint.ensemble.entry_point
    for number, step in enumerate(blueprint.chain.steps if blueprint.chain else ()):
        if step.entry_point:
            more["chain", "steps", number, "entry_point"] = step.entry_point
    for path, message, way_out in check_recipe(folder, blueprint.environment, more):
        yield sources.error(blueprint.place, message, path, way_out=way_out, rule="recipe")


def _check_retention(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    kept = blueprint.retention
    if kept.archive_class is None:
        given = sources.documents[blueprint.place.file].data.get("retention", {})
        if "archive_after_days" in given:
            message = "means nothing without archive_class."
            path = ("retention", "archive_after_days")
            yield sources.error(
                blueprint.place, message, path, way_out="Name the class, or remove it.", rule="retention"
            )
        return
    path = ("retention", "archive_after_days")
    if kept.results_days is not None and kept.archive_after_days >= kept.results_days:
        message = f"results are deleted after {kept.results_days} days, so nothing is left to archive."
        yield sources.error(
            blueprint.place, message, path, way_out="Archive sooner, or keep them longer.", rule="retention"
        )
    if kept.archive_class is ArchiveClass.STANDARD_IA and kept.archive_after_days < IA_DAYS:
        message = f"S3 moves nothing to STANDARD_IA before {IA_DAYS} days."
        yield sources.error(blueprint.place, message, path, way_out="Wait longer, or use GLACIER_IR.", rule="retention")


def _check_rename(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    if blueprint.renamed_from == blueprint.id:
        message, way_out = "is its own id.", "Remove it, or name the id of the last release."
        yield sources.error(blueprint.place, message, ("renamed_from",), way_out=way_out, rule="id-changed")


def _check_access(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    place = blueprint.place
    for number, group in enumerate(blueprint.access.groups):
        if group not in sources.groups:
            path: FieldPath = ("access", "groups", number)
            way_out = suggest(group, sources.groups) or "Write its profile, or leave it out."
            yield sources.error(place, f"there is no group {group!r}.", path, way_out=way_out, rule="access")
    if not blueprint.access.users or sources.groups != sources.platform.groups.keys():
        return  # the person may stand in a profile that could not be read
    people = {m.email.casefold() for g in sources.platform.groups.values() for m in g.members}
    for number, user in enumerate(blueprint.access.users):
        if user.casefold() not in people:
            path = ("access", "users", number)
            way_out = "Add the person to a group in users/."
            yield sources.error(place, f"{user!r} is in no group.", path, way_out=way_out, rule="access")
