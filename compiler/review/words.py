"""Says in sentences what a change of the YAML means, per blueprint, per group, and for the deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, Final

from compiler import names
from compiler.blueprint import Blueprint, Stage
from compiler.model import Platform
from compiler.profile import Group
from compiler.version import analysis_version
from state.vcpus import RegionQuotas

Sentences = tuple[str, ...]
_QUIET: Final = frozenset({"place", "id", "parameters", "members", "analyses", "resources", "renamed_from", "purge"})
"""Fields that have sentences of their own, or say nothing."""
_BY_KEY: Final = frozenset({"vcpus", "prices"})
"""Fields that are tables, told figure by figure."""
_STAGES: Final = {
    Stage.DRAFT: "a draft: nobody can run it",
    Stage.PRIVATE: "private: only groups and people it names may opt in",
    Stage.PUBLIC: "public: every group may opt in",
}
SHOWN: Final = 80
"""Characters of a value that a sentence repeats."""


def describe_blueprints(before: Platform, after: Platform) -> dict[str, Sentences]:
    """Return what changes for each analysis, by id; those that stay as they are are left out."""
    found = {}
    for name in sorted(before.blueprints.keys() | after.blueprints.keys()):
        said = tuple(_blueprint(before, after, name))
        if said:
            found[name] = said
    return found


def describe_groups(before: Platform, after: Platform) -> dict[str, Sentences]:
    """Return what changes for each group, by id; those that stay as they are are left out."""
    found = {}
    for name in sorted(before.groups.keys() | after.groups.keys()):
        said = tuple(_group(before, after, name))
        if said:
            found[name] = said
    return found


def describe_deployment(before: Platform, after: Platform) -> Sentences:
    """Return what changes in mayfly.yaml."""
    return tuple(_differences(before.deployment, after.deployment))


def _blueprint(before: Platform, after: Platform, name: str) -> Iterator[str]:
    old, new = before.blueprints.get(name), after.blueprints.get(name)
    if new is None:
        assert old is not None  # noqa: S101 the name comes from one of the two
        heir = next((b.id for b in after.blueprints.values() if b.renamed_from == name), None)
        bucket = before.bucket(name)
        if heir:
            yield f"is renamed to {heir}; its bucket and its data move with it."
        elif old.purge:
            yield f"is removed, and its bucket {bucket} WITH ALL DATA, because it says purge: true."
        else:
            yield f"is removed: nobody can run it any more. Its bucket {bucket} and all data in it stay."
        return
    if old is None and new.renamed_from:
        yield f"was {new.renamed_from}; the bucket stays what it was."
        old = before.blueprints.get(new.renamed_from)
    if old is None:
        yield f"is new ({new.title}). It is {_STAGES[new.stage]}."
        yield f"Its data will be in the bucket {after.bucket(name)}; its default machine is {_machine(new)}."
        return
    if old.stage is not new.stage:
        yield f"is now {_STAGES[new.stage]} (it was {old.stage.value})."
    yield from _machines(old, new)
    yield from _differences(old, new, skip=frozenset({"stage"}))
    yield from _parameters(old, new)
    if new.purge and not old.purge:
        yield "says purge: true: when it is removed one day, all its data will go with it."
    versions = [analysis_version(before, old.id), analysis_version(after, name)]
    if versions[0] != versions[1]:
        yield f"Analysis version {versions[0]} becomes {versions[1]}: certificates of new jobs name the new one."


def _machine(blueprint: Blueprint) -> str:
    return f"{blueprint.resources[0].instance_type} ({blueprint.resources[0].price.value})"


def _machines(old: Blueprint, new: Blueprint) -> Iterator[str]:
    if old.resources == new.resources:
        return
    if _machine(old) != _machine(new):
        yield f"Its default machine was {_machine(old)} and is {_machine(new)}."
    before, after = ([c.instance_type for c in b.resources] for b in (old, new))
    if before != after:
        yield f"Its resource bank was {', '.join(before)} and is {', '.join(after)}."
    for index, (one, other) in enumerate(zip(old.resources, new.resources, strict=False)):
        if one.instance_type == other.instance_type:
            yield from _differences(one, other, f"resources[{index}].", skip=frozenset({"instance_type"}))


def _parameters(old: Blueprint, new: Blueprint) -> Iterator[str]:
    before, after = (b.parameters.get("properties") or {} for b in (old, new))
    needed = [set(b.parameters.get("required") or ()) for b in (old, new)]
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"The parameter {name} is gone: config files that set it will be refused."
        elif name not in before:
            yield f"The parameter {name} is new{' and must be given' if name in needed[1] else ''}."
        elif before[name] != after[name] or (name in needed[0]) != (name in needed[1]):
            defaults = [show(p[name].get("default")) if isinstance(p[name], dict) else "?" for p in (before, after)]
            change = f": its default was {defaults[0]} and is {defaults[1]}" if defaults[0] != defaults[1] else ""
            yield f"The parameter {name} has other rules{change}."


def _group(before: Platform, after: Platform, name: str) -> Iterator[str]:
    old, new = before.groups.get(name), after.groups.get(name)
    if new is None:
        yield "is removed: its people and its running machines lose all access. Its objects stay in the buckets."
        return
    if old is None:
        people = f"{len(new.members)} {'person' if len(new.members) == 1 else 'people'}"
        yield f"is new ({new.title}), with {people} and a budget of {_budget(new)}."
    elif _budget(old) != _budget(new):
        yield f"Its budget was {_budget(old)} and is {_budget(new)}."
    was, now = before.analyses_of(name), after.analyses_of(name)
    for analysis in sorted(set(now) - set(was)):
        yield f"Group {name} may now use {analysis}: send data and jobs, and read its own results."
    for analysis in sorted(set(was) - set(now)):
        yield f"Group {name} may no longer use {analysis}; its objects there stay, out of its reach."
    if old is None:
        return
    yield from _members(old, new)
    yield from _differences(old, new, skip=frozenset({"budget"}))
    yield from _differences(old.budget, new.budget, "budget.", skip=frozenset({"amount", "currency", "period"}))


def _members(old: Group, new: Group) -> Iterator[str]:
    before, after = ({m.email.casefold(): m for m in g.members} for g in (old, new))
    for email in sorted(before.keys() | after.keys()):
        if email not in before:
            yield f"{after[email].name} joins as {after[email].role.value}."
        elif email not in after:
            yield f"{before[email].name} leaves."
        elif before[email].role is not after[email].role:
            yield f"{after[email].name} was {before[email].role.value} and is {after[email].role.value}."


def _budget(group: Group) -> str:
    return f"{group.budget.amount} {group.budget.currency} {group.budget.period.value}"


def _differences(old: Any, new: Any, prefix: str = "", skip: frozenset[str] = frozenset()) -> Iterator[str]:  # noqa: ANN401
    """Yield a sentence for each field of two values of one class that differs, in the units of the YAML."""
    for field in fields(old):
        one, other = getattr(old, field.name), getattr(new, field.name)
        if one == other or field.name in _QUIET | skip:
            continue
        if is_dataclass(one) and is_dataclass(other):
            yield from _differences(one, other, f"{prefix}{field.name}.")
            continue
        name = prefix + field.metadata.get("yaml", field.name)
        if field.name in _BY_KEY:
            yield from _keyed(one, other, name)
            continue
        shown = _unit(field.name)
        yield f"{name} was {shown(one)} and is {shown(other)}."


def _keyed(old: object, new: object, name: str) -> Iterator[str]:
    """Yield a sentence for each figure that differs: a whole table would be too long to compare."""
    before, after = _flatten(old, name), _flatten(new, name)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key} was {show(before.get(key))} and is {show(after.get(key))}."


def _flatten(value: object, name: str) -> dict[str, object]:
    """Return the figures of a table by their names in the file."""
    if isinstance(value, RegionQuotas):
        spot = _flatten(value.spot, f"{name}.spot")
        return _flatten(value.total, name) | _flatten(value.on_demand, name) | spot
    if not isinstance(value, Mapping):
        return {} if value is None else {name: value}
    return {key: one for part, inner in value.items() for key, one in _flatten(inner, f"{name}.{part}").items()}


def _unit(name: str) -> Callable[[object], str]:
    """Return how the values of a field are shown: seconds as minutes, bytes as MB, the rest as it is."""
    if name.endswith("_s"):
        return lambda value: f"{Decimal(str(value)) / 60:f} min" if isinstance(value, int) else show(value)
    if name.endswith("_bytes"):
        return lambda value: f"{Decimal(value) / 10**6:f} MB" if isinstance(value, int) else show(value)
    return show


def show(value: object) -> str:
    """Return a value in few words."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text = value or "empty"
    elif isinstance(value, tuple | list | set | frozenset):
        text = ", ".join(show(one) for one in value) or "none"
    elif is_dataclass(value):
        parts = ((field.name, getattr(value, field.name)) for field in fields(value))
        text = " ".join(f"{name}={show(one)}" for name, one in parts if one not in {None, ""})
    elif isinstance(value, dict):
        text = names.compact_json(value)
    else:
        text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
