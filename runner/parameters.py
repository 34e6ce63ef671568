"""A job's config against its blueprint: the platform's own parameters taken out, problems in a user's words.

Pure. The rules are the blueprint's JSON Schema (compiler.parameters completes and checks it); here each violation
becomes one sentence that says what is there and everything that is wanted, so that one correction is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema.exceptions import ValidationError

from compiler.patterns import validate_parameters
from compiler.shape import suggest
from runner.intake import show

DURATION: Final = "__duration__"
DATASET_SIZE: Final = "__dataset_size__"

MOST_DATASET_GB: Final = 16_000
"""EBS volumes end at 16 TiB."""

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of parameters",
    "null": "nothing",
}


def fill_defaults(parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the schema's defaults for what they leave open, also inside groups that are there."""
    filled = copy.deepcopy(dict(parameters))
    for name, rule in schema.get("properties", {}).items():
        if not isinstance(rule, dict):
            continue
        if name not in filled and "default" in rule:
            filled[name] = copy.deepcopy(rule["default"])
        if isinstance(filled.get(name), dict):
            filled[name] = fill_defaults(filled[name], rule)
    return filled


def find_problems(parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with parameters, one sentence each, in the order of their names."""
    errors = validate_parameters(schema, dict(parameters))
    ordered = sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    return list(dict.fromkeys(sentence for error in ordered for sentence in _explain(error)))


def take_platform_parameters(config: Mapping[str, Any], *, max_minutes: int) -> tuple[dict[str, Any], list[str]]:
    """Take the platform's own parameters out of a config.

    Args:
        config: what the config file says.
        max_minutes: the most that a job of this blueprint may declare.

    Returns:
        The analysis's own parameters, and what is wrong with the platform's.
    """
    own = {name: value for name, value in config.items() if not _is_platform(name)}
    problems = []
    bounds = {DURATION: (1, max_minutes, "minutes"), DATASET_SIZE: (0, MOST_DATASET_GB, "GB")}
    for name, value in config.items():
        if name in bounds:
            low, high, unit = bounds[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                problems.append(f"{name} is {show(value)}, but must be a whole number of {unit} from {low} to {high}.")
        elif _is_platform(name):
            problems.append(f"{name} is not a parameter of the platform. {suggest(name, bounds)}")
    return own, problems


def _is_platform(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _explain(error: ValidationError) -> Iterator[str]:
    """Yield the sentences of one violation."""
    path = _path(error)
    rule = error.schema if isinstance(error.schema, dict) else {}
    present = error.instance if isinstance(error.instance, dict) else {}
    known = rule.get("properties", {})
    if error.validator == "required":
        for name in [name for name in rule["required"] if name not in present]:
            wanted = expected(known.get(name, {}))
            yield f"{_join(path, name)} is missing" + (f"; it must be {wanted}." if wanted else ".")
    elif error.validator in {"additionalProperties", "unevaluatedProperties"}:
        for name in [name for name in present if name not in known]:
            way_out = suggest(name, known) or "It knows none."
            yield f"{_join(path, _bare(name))} is not a parameter of this analysis. {way_out}"
    else:
        yield f"{path or 'The config'} is {show(error.instance)}, but must be {expected(rule) or _plain(error)}."


def _plain(error: ValidationError) -> str:
    return f"something else ({error.message})"


def _path(error: ValidationError) -> str:
    path = ""
    for part in error.absolute_path:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, _bare(str(part)))
    return path


def _bare(name: str) -> str:
    """Return a user's name of a parameter for a sentence, without quotes."""
    return show(name).strip('"')


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def expected(rule: object) -> str:
    """Return what a schema wants, in words, such as `a whole number from 1 to 100`; empty when it wants nothing."""
    if not isinstance(rule, dict):
        return ""
    if "const" in rule:
        return show(rule["const"])
    if "enum" in rule:
        return "one of " + ", ".join(show(value) for value in rule["enum"])
    for several in ("anyOf", "oneOf"):
        if several in rule:
            return " or ".join(dict.fromkeys(filter(None, (expected(one) for one in rule[several]))))
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = " or ".join(_TYPES.get(kind, kind) for kind in kinds)
    return " ".join(part for part in (words, _range(rule), _shape(rule)) if part)


def _range(rule: Mapping[str, Any]) -> str:
    low, high = rule.get("minimum"), rule.get("maximum")
    above, below = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    if low is not None and high is not None:
        parts = [f"from {low} to {high}"]
    else:
        limits = [("of at least", low), ("greater than", above), ("of at most", high), ("less than", below)]
        parts = [f"{word} {limit}" for word, limit in limits if limit is not None]
    words = " and ".join(parts)
    return f"{words} in steps of {rule['multipleOf']}".strip() if "multipleOf" in rule else words


def _shape(rule: Mapping[str, Any]) -> str:
    parts = []
    if "pattern" in rule:
        parts.append(f"that matches {rule['pattern']}")
    if "format" in rule:
        parts.append(f"in the form of a {rule['format']}")
    for low, high, unit in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries")):
        if low in rule and high in rule:
            parts.append(f"with {rule[low]} to {rule[high]} {unit}")
        elif low in rule:
            parts.append(f"with at least {rule[low]} {unit}")
        elif high in rule:
            parts.append(f"with at most {rule[high]} {unit}")
    if rule.get("uniqueItems"):
        parts.append("without repetition")
    return " ".join(parts)
