"""Terraform's plan JSON as values: what happens to each resource, without what must not be shown.

Terraform promises this format (`format_version` 1.x); keys that are not known are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from compiler.review.redact import redact

JSON = dict[str, Any]


class Action(StrEnum):
    """What a plan does to one resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    MOVE = "move"
    READ = "read"
    NOTHING = "nothing"


_ACTIONS: Final = {
    ("create",): Action.CREATE,
    ("update",): Action.UPDATE,
    ("delete",): Action.DELETE,
    ("delete", "create"): Action.REPLACE,
    ("create", "delete"): Action.REPLACE,
    ("forget",): Action.FORGET,
    ("read",): Action.READ,
    ("no-op",): Action.NOTHING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one resource.

    Attributes:
        root: the root it belongs to.
        address: Terraform's address in that root.
        kind: the resource type, such as `aws_s3_bucket`.
        action: what happens.
        before: its attributes now, secrets redacted; empty when it is new.
        after: its attributes then; empty when it goes. What is not known yet is absent.
        unknown: attributes that are known only after the apply.
        computed: of these, those that the code does not set: the provider fills them in.
        forces: attributes that force a replacement, dotted.
        previous: its address before it was moved, or empty.
        module: address of the module that it is in, or empty.
    """

    root: str
    address: str
    kind: str
    action: Action
    before: JSON = field(default_factory=dict)
    after: JSON = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    forces: tuple[str, ...] = ()
    previous: str = ""
    module: str = ""

    def changed(self) -> tuple[str, ...]:
        """Return the top-level attributes that differ, sorted; one that is not known yet counts when it was known."""
        names = self.before.keys() | self.after.keys() | self.unknown
        return tuple(
            sorted(
                name
                for name in names
                if (name in self.unknown and name not in self.after) or self.before.get(name) != self.after.get(name)
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPlan:
    """What a plan of one root says.

    Attributes:
        root: `base`, `analyses/ID` or `groups/ID`.
        changes: resources that change, by address; those that stay as they are, too.
        drift: what was changed behind Terraform's back, as changes from what was recorded to what is there.
        references: per resource address, the addresses that its attribute `bucket` names in the code.
        error: why there is no plan, or empty.
        note: what a reader must know about this plan, or empty.
    """

    root: str
    changes: tuple[Change, ...] = ()
    drift: tuple[Change, ...] = ()
    references: dict[str, frozenset[str]] = field(default_factory=dict)
    error: str = ""
    note: str = ""

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that do something."""
        return tuple(c for c in self.changes if c.action not in {Action.NOTHING, Action.READ})

    def count(self, *actions: Action) -> int:
        """Return how many changes are of these kinds."""
        return sum(1 for change in self.changes if change.action in actions)


def read_plan(root: str, plan: JSON) -> RootPlan:
    """Return what `terraform show -json PLANFILE` says of a root."""
    code = read_code(plan)
    changes, drift = (
        [_read_change(root, one, code) for one in plan.get(key) or () if one.get("mode") == "managed"]
        for key in ("resource_changes", "resource_drift")
    )
    return RootPlan(
        root=root,
        changes=tuple(sorted(changes, key=lambda c: c.address)),
        drift=tuple(sorted(_real_drift(drift, changes), key=lambda c: c.address)),
        references=_references(plan),
    )


def _real_drift(drift: list[Change], changes: list[Change]) -> Iterator[Change]:
    """Yield what an apply would put back.

    Terraform also reports attributes that mirror another resource, such as the policy of a bucket: they differ from
    what was recorded as soon as that one is made, and nothing is wrong with them.
    """
    planned = {change.address: change for change in changes}
    for one in drift:
        plan = planned.get(one.address)
        if plan is None or plan.action in {Action.NOTHING, Action.READ} or one.action is Action.NOTHING:
            continue
        put_back = set(one.changed()) & set(plan.changed())
        if one.action is Action.DELETE:
            yield one
        elif put_back:
            before, after = ({k: v for k, v in side.items() if k in put_back} for side in (one.before, one.after))
            yield replace(one, before=before, after=after, unknown=frozenset())


def _read_change(root: str, said: JSON, code: Mapping[str, JSON]) -> Change:
    change = said["change"]
    previous = str(said.get("previous_address") or "")
    action = _ACTIONS.get(tuple(change.get("actions") or ("no-op",)), Action.UPDATE)
    if action is Action.NOTHING and previous:
        action = Action.MOVE
    unknown = unknown_names(change)
    set_in_code = code.get(without_key(str(said["address"])))
    return Change(
        root=root,
        address=str(said["address"]),
        kind=str(said.get("type", "")),
        action=action,
        before=_attributes(change.get("before"), change.get("before_sensitive")),
        after=_attributes(change.get("after"), change.get("after_sensitive")),
        unknown=unknown,
        computed=frozenset() if set_in_code is None else unknown - set_in_code.keys(),
        forces=tuple(".".join(map(str, path)) for path in change.get("replace_paths") or ()),
        previous=previous,
        module=str(said.get("module_address") or ""),
    )


def _attributes(values: Any, sensitive: Any) -> JSON:  # noqa: ANN401 JSON of every shape
    shown = redact(values, sensitive)
    return shown if isinstance(shown, dict) else {}


def unknown_names(change: JSON) -> frozenset[str]:
    """Return the attributes of a change that are not known yet, or not all of which is."""
    marks = change.get("after_unknown")
    return frozenset(name for name, mark in marks.items() if _holds(mark)) if isinstance(marks, dict) else frozenset()


def _holds(mark: Any) -> bool:  # noqa: ANN401 JSON of every shape
    """Whether a mark of Terraform's is True anywhere in it."""
    parts = mark.values() if isinstance(mark, dict) else mark if isinstance(mark, list) else ()
    return mark is True or any(map(_holds, parts))


def read_code(plan: JSON) -> dict[str, JSON]:
    """Return what the code sets of each resource, as far as a plan tells, by its address without keys."""
    return {prefix + one["address"]: one.get("expressions") or {} for prefix, one in _resources(plan)}


def _references(plan: JSON) -> dict[str, frozenset[str]]:
    """Return what the attribute `bucket` of each resource refers to in the code, by its address without keys."""
    return {
        prefix + one["address"]: frozenset(
            prefix + name for name in ((one.get("expressions") or {}).get("bucket") or {}).get("references") or ()
        )
        for prefix, one in _resources(plan)
    }


def _resources(plan: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield each resource of a plan's code with the address of its module, which ends with a dot or is empty."""
    modules = [("", (plan.get("configuration") or {}).get("root_module") or {})]
    while modules:
        prefix, module = modules.pop()
        yield from ((prefix, one) for one in module.get("resources") or ())
        calls = (module.get("module_calls") or {}).items()
        modules += [(f"{prefix}module.{name}.", call.get("module") or {}) for name, call in calls]


def without_key(address: str) -> str:
    """Return an address without `count` and `for_each` keys: `a.b["x"]` is `a.b`."""
    kept, depth, quoted = [], 0, False
    for i, char in enumerate(address):
        if char == '"' and address[i - 1] != "\\":
            quoted = not quoted
        if char == "[" and not quoted:
            depth += 1
        if depth == 0:
            kept.append(char)
        if char == "]" and not quoted:
            depth -= 1
    return "".join(kept)
