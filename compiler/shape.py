"""Checks data against a JSON Schema and says in words what is wrong, where, and the way out.

A schema may carry `x-rule`: its pattern in words; and `x-wanted`: what a value must be, as the end of a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urljoin

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped]

from compiler.patterns import matches
from compiler.source import Document, FieldPath
from state.errors import SourceError

TYPES: Final = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
RULE_OF: Final = {
    "required": "missing-key",
    "dependentRequired": "missing-key",
    "additionalProperties": "unknown-key",
    "type": "wrong-type",
}
"""Rule that a keyword of a schema stands for; every other one is about a value."""
SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""
LONGEST_MATCHED: Final = 1000
"""Characters: nothing that has a pattern is longer, and a pattern may take long to find out about a megabyte."""


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return one of our schemas, such as `blueprint`."""
    text = files("compiler").joinpath(f"schema/{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _match_whole(_validator: object, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    """Hold text to a pattern as a whole: in Python `$` would let a line break through at the end."""
    if not isinstance(value, str):
        return
    whole = f"(?:{pattern.removeprefix('^').removesuffix('$')})"
    if len(value) > LONGEST_MATCHED or not re.fullmatch(whole, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def make_validator(schema: dict[str, Any], **keywords: Any) -> Validator:  # noqa: ANN401
    """Return a validator of a schema whose references all lead into itself, followed without resolving addresses.

    `#` is the schema, `#/$defs/NAME` one of its definitions; a thousand files are checked in half the time.
    """

    def follow(validator: Any, reference: str, value: object, _schema: object) -> Iterator[ValidationError]:  # noqa: ANN401
        target = schema if reference == "#" else schema["$defs"][reference.rpartition("/")[2]]
        yield from validator.descend(value, target)

    own = validators.extend(Draft202012Validator, {"$ref": follow, **keywords})  # type: ignore[no-untyped-call]
    made: Validator = own(schema)
    return made


@cache
def _validator(name: str) -> Validator:
    return make_validator(load_schema(name), pattern=_match_whole)


@cache
def schema_validator() -> Validator:
    """Return what checks schemas themselves: the vocabularies of JSON Schema 2020-12 as one schema."""
    whole: dict[str, Any] = {"type": ["object", "boolean"], "properties": {}, "$defs": {}}
    for part in Draft202012Validator.META_SCHEMA["allOf"]:
        vocabulary = SPECIFICATIONS.contents(urljoin(Draft202012Validator.META_SCHEMA["$id"], part["$ref"]))
        whole["properties"] |= vocabulary.get("properties", {})
        whole["$defs"] |= vocabulary.get("$defs", {})
    text = json.dumps(whole).replace('"$dynamicRef": "#meta"', '"$ref": "#"')
    return make_validator(json.loads(text))


def check_shape(document: Document, schema: str) -> list[SourceError]:
    """Return everything in which a document differs from one of our schemas."""
    if document.data is None:
        return [
            document.error(
                "is empty.",
                way_out=f"It needs at least: {', '.join(load_schema(schema)['required'])}.",
                rule="missing-key",
            )
        ]
    found = {}
    for error in _validator(schema).iter_errors(document.data):
        rule = RULE_OF.get(str(error.validator), "wrong-value")
        for path, message, way_out, key in explain(error):
            found[path, message] = document.error(message, path, way_out=way_out, key=key, rule=rule)
    return list(found.values())


def check_field(schema: str, field: str, value: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    """Yield in what a value differs from what one of our schemas says of a field."""
    return _validator(schema).evolve(schema=load_schema(schema)["properties"][field]).iter_errors(value)


Explanation = tuple[FieldPath, str, str, bool]
"""Path, what is wrong, the way out, and whether it is about the key rather than the value."""


def explain(error: ValidationError) -> Iterator[Explanation]:
    """Yield what a validation error means: several when several keys are missing or unknown."""
    path: FieldPath = tuple(error.absolute_path)
    keyword, rule, value = str(error.validator), _anything(error.validator_value), _anything(error.instance)
    schema: dict[str, Any] = _anything(error.schema)
    about_key = "propertyNames" in error.schema_path
    if about_key:
        path = (*path, value)
    if keyword in {"required", "additionalProperties", "dependentRequired"}:
        yield from _explain_keys(path, keyword, rule, value, schema)
    elif keyword == "enum":
        yield path, f"{show(value)} is none of {_list_words(rule)}.", suggest(value, rule, say_all=False), about_key
    elif keyword == "type":
        quotes = f'Put it in quotes: "{value}".' if rule == "string" and _is_number(value) else ""
        yield path, f"must be {_types(rule)}, not {show(value)}.", quotes, about_key
    elif keyword == "pattern":
        yield path, f"{show(value)} {schema.get('x-rule', f'does not match the pattern {rule}')}.", "", about_key
    else:
        yield path, _rule_in_words(keyword, rule, error), "", about_key


def _explain_keys(
    path: FieldPath,
    keyword: str,
    rule: Any,  # noqa: ANN401
    value: dict[str, Any],
    schema: dict[str, Any],
) -> Iterator[Explanation]:
    """Yield what is wrong with the keys of a mapping."""
    if keyword == "required":
        for name in sorted(set(rule) - value.keys()):
            yield (*path, name), "is missing.", _describe(schema, name), True
    elif keyword == "dependentRequired":
        for name, needed in sorted(rule.items()):
            for other in sorted(set(needed) - value.keys()) if name in value else ():
                yield (*path, other), f"is missing: {name!r} needs it.", _describe(schema, other), True
    else:
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name in value:
            if name not in known and not any(matches(pattern, name) for pattern in patterns):
                yield (*path, name), "is not a key that this place has.", suggest(name, known), True


def _anything(value: object) -> Any:  # noqa: ANN401
    """Return a part of a schema without its type: the keyword beside it says what it is."""
    return value


_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "minimum": lambda n: f"must be at least {n}",
    "maximum": lambda n: f"must be at most {n}",
    "exclusiveMinimum": lambda n: f"must be more than {n}",
    "exclusiveMaximum": lambda n: f"must be less than {n}",
    "multipleOf": lambda n: f"must be a multiple of {n}",
    "minItems": lambda n: f"needs at least {n} of these",
    "maxItems": lambda n: f"may have at most {n} of these",
    "uniqueItems": lambda _: "has an entry twice",
    "minLength": lambda n: "must not be empty" if n == 1 else f"needs at least {n} characters",
    "maxLength": lambda n: f"may have at most {n} characters",
    "minProperties": lambda n: f"needs at least {n} entries",
    "maxProperties": lambda n: f"may have at most {n} entries",
    "const": lambda value: f"must be {show(value)}",
}


_TELLS_VALUE: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const"})


def _rule_in_words(keyword: str, rule: object, error: ValidationError) -> str:
    words = _WORDS.get(keyword)
    if words is None:
        return f"{error.message}."
    tail = f", not {show(error.instance)}" if keyword in _TELLS_VALUE else ""
    return f"{words(rule)}{tail}."


def suggest(name: object, known: Iterable[object], *, say_all: bool = True) -> str:
    """Return "Did you mean …?", or the known names when none comes close."""
    choices = sorted(map(str, known))
    close = get_close_matches(str(name), choices, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known here: {', '.join(choices)}." if say_all and choices else ""


def show(value: object) -> str:
    """Return a value as a message repeats it: JSON, on one line, not too long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _types(rule: str | list[str]) -> str:
    return " or ".join(TYPES[name] for name in ([rule] if isinstance(rule, str) else rule))


def _list_words(values: Iterable[object]) -> str:
    return ", ".join(map(show, values))


def _describe(schema: dict[str, Any], name: str) -> str:
    text = schema.get("properties", {}).get(name, {}).get("description", "")
    return f"It says: {text}" if text else ""
