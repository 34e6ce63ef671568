"""Our JSON Schemas and what holds data to them; `compiler.mistakes` says in words what is wrong.

A schema may carry `x-rule`: its pattern in words; and `x-wanted`: what a value must be, as the end of a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urljoin

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped]

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
def validator(name: str) -> Validator:
    """Return what checks data against one of our schemas."""
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


def check_field(schema: str, field: str, value: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    """Yield in what a value differs from what one of our schemas says of a field."""
    return validator(schema).evolve(schema=load_schema(schema)["properties"][field]).iter_errors(value)


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
