"""What a schema wants of a place, as a sentence: the way out of a mistake that has no other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from compiler.shape import show

_BY_NAME: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
"""Keywords whose value holds schemas by name: what stands there is a name, however much it looks like a keyword."""


def say_wanted(whole: dict[str, Any], steps: Iterable[str | int]) -> str:
    """Return what the innermost part of a schema that says anything about itself says: its purpose, default, example.

    Args:
        whole: the schema; its references lead into itself.
        steps: the way from there to the part.

    Returns:
        One or two sentences; empty when no part on the way says anything.
    """
    needs = ", ".join(whole.get("required", ()))
    said = f"It needs at least: {needs}." if needs else _say(whole)
    part: Any = whole
    named = False
    for step in steps:
        part = part[step]
        named = step in _BY_NAME and not named
        if named or not isinstance(part, dict):
            continue
        said = _say(part) or said
        if "$ref" in part:
            part = _follow(whole, part["$ref"])
            said = _say(part) or said
    return said


def say_key(schema: dict[str, Any], name: str) -> str:
    """Return what a schema says of a key that is missing; without a word of its own, that it is to be added."""
    part = schema.get("properties", {}).get(name)
    return (_say(part) if isinstance(part, dict) else "") or "Add it."


def _say(part: dict[str, Any]) -> str:
    purpose = next((part[key] for key in ("description", "title") if isinstance(part.get(key), str)), "")
    told = [f"It says: {purpose.rstrip('.')}."] if purpose else []
    if part.get("default") not in (None, {}, []):
        told.append(f"Left out, it is {show(part['default'])}.")
    elif isinstance(part.get("examples"), list) and part["examples"]:
        told.append(f"For example: {show(part['examples'][0])}.")
    return " ".join(told)


def _follow(whole: dict[str, Any], reference: str) -> dict[str, Any]:
    target: dict[str, Any] = whole if reference == "#" else whole["$defs"][reference.rpartition("/")[2]]
    return target
