"""How a job is managed: the settings of a protocol against the rest of the blueprint and against other analyses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compiler.blueprint import Blueprint, Protocol, Stage, Step
from compiler.findings import Sources
from compiler.mistakes import explain
from compiler.parameters import check_schema
from compiler.patterns import validate_parameters
from compiler.shape import suggest
from compiler.source import FieldPath, spell_path
from state.errors import SourceError

RUNNABLE: Final = frozenset({Protocol.PER_DATASET})
"""Protocols that the runner carries out; the others have their language already, and run as drafts do: not."""

Problem = tuple[FieldPath, str, str]
"""Path inside the blueprint, what is wrong, the way out."""


def check_protocol(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield what is wrong with the protocol of a blueprint and its settings."""
    problems = (*_check_settings(blueprint), *_check_ensemble(blueprint), *_check_chain(sources, blueprint))
    for path, message, way_out in problems:
        yield sources.error(blueprint.place, message, path, way_out=way_out, rule="protocol")


def _check_settings(blueprint: Blueprint) -> Iterator[Problem]:
    protocol = blueprint.protocol
    if protocol not in RUNNABLE and blueprint.stage is not Stage.DRAFT:
        yield ("protocol",), f"the protocol {protocol} cannot be run yet.", "Set `stage: draft` until it can."
    if blueprint.chain is None and protocol is Protocol.CHAIN:
        yield ("chain",), "is missing: the protocol chain needs its steps.", "List them as `chain: {steps: […]}`."
    for name, block in ((Protocol.CHAIN, blueprint.chain), (Protocol.ENSEMBLE, blueprint.ensemble)):
        if block is not None and protocol is not name:
            yield (str(name),), f"means nothing to the protocol {protocol}.", f"Remove it, or set `protocol: {name}`."
    if blueprint.keep_failed_s > blueprint.limits.max_duration_s:
        yield ("keep_failed",), "is longer than limits.max_duration, when the machine is gone.", "Shorten it."


def _check_ensemble(blueprint: Blueprint) -> Iterator[Problem]:
    ensemble = blueprint.ensemble
    if ensemble is None:
        return
    if ensemble.size > ensemble.max_size:
        yield ("ensemble", "size"), f"{ensemble.size} are more than max_size, {ensemble.max_size}.", "Raise max_size."
    if ensemble.max_size > blueprint.limits.instances:
        message = f"{ensemble.max_size} replicas are more than limits.instances, {blueprint.limits.instances}."
        yield ("ensemble", "max_size"), message, "Raise limits.instances or lower max_size."


def _check_chain(sources: Sources, blueprint: Blueprint) -> Iterator[Problem]:
    steps = blueprint.chain.steps if blueprint.chain else ()
    for number, step in enumerate(steps):
        for path, message, way_out in _check_step(sources, blueprint, step):
            yield ("chain", "steps", number, *path), message, way_out


def _check_step(sources: Sources, blueprint: Blueprint, step: Step) -> Iterator[Problem]:
    if (step.analysis is None) is (step.entry_point is None):
        yield (), "must name either an analysis or an entry_point.", "Keep one of the two."
        return
    owner: Blueprint | None = blueprint
    if step.analysis is not None:
        path: FieldPath = ("analysis",)
        owner = sources.platform.blueprints.get(step.analysis)
        if step.analysis not in sources.analyses:
            way_out = suggest(step.analysis, sources.analyses) or "Write its blueprint, or leave it out."
            yield path, f"there is no analysis {step.analysis!r}.", way_out
        elif _leads_back(sources, step.analysis, blueprint.id):
            yield path, f"{step.analysis!r} leads back to this analysis: the chain would never end.", "Remove the step."
    if owner is None:
        return
    bank = {choice.instance_type for choice in owner.resources}
    if step.instance_type is not None and step.instance_type not in bank:
        message = f"{step.instance_type!r} is not in the resource bank of {owner.id!r}."
        yield ("instance_type",), message, suggest(step.instance_type, bank)
    if step.analysis is not None and not any(check_schema(owner.parameters)):
        yield from _check_parameters(owner, step)


def _check_parameters(owner: Blueprint, step: Step) -> Iterator[Problem]:
    """Hold fixed parameters to the schema of the step's analysis; what is missing may come from its defaults."""
    schema = {key: value for key, value in owner.parameters.items() if key != "required"}
    for error in validate_parameters(schema, step.parameters):
        for path, message, way_out, _ in explain(error, schema, "Change it, or that schema."):
            where = spell_path(path)
            yield ("parameters", *path), f"{message.rstrip('.')} (a parameter of {owner.id!r}: {where}).", way_out


def _leads_back(sources: Sources, start: str, goal: str) -> bool:
    """Return whether the steps of one analysis come to another, however many analyses are between."""
    seen, ahead = set(), [start]
    while ahead:
        name = ahead.pop()
        if name == goal:
            return True
        blueprint = sources.platform.blueprints.get(name)
        if name not in seen and blueprint is not None and blueprint.chain is not None:
            ahead += [step.analysis for step in blueprint.chain.steps if step.analysis is not None]
        seen.add(name)
    return False
