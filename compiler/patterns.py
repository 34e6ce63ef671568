"""Patterns that people write into the schemas of parameters, matched in linear time by RE2.

Python's own engine backtracks: `(a+)+$` and forty letters keep it busy for days, in a check as in the watcher. RE2
reads what needs no backtracking: all of JSON Schema's regular expressions but look-around and back-references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import re2
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

_KEPT: Final = 1000
"""Compiled patterns of one process: more than a platform has, fewer than a memory feels."""
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)


class _Pattern(Protocol):
    def search(self, text: str) -> object: ...


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern is found in a text. Half a character, which only JSON can spell, is never found.

    Raises:
        ValueError: the pattern is not one; `explain_pattern` says why.
    """
    try:
        return _compile(pattern).search(text) is not None
    except UnicodeEncodeError:
        return False


def explain_pattern(pattern: str) -> str:
    """Return why a pattern cannot be read; empty when it can."""
    try:
        _compile(pattern)
    except ValueError as error:
        return str(error)
    return ""


def validate_parameters(schema: Mapping[str, Any], value: object) -> Iterator[ValidationError]:
    """Yield in what a value differs from a schema that `compiler.parameters` has nothing to say against."""
    return cast("Iterator[ValidationError]", _LinearValidator(schema).iter_errors(value))


@lru_cache(maxsize=_KEPT)
def _compile(pattern: str) -> _Pattern:
    options = re2.Options()
    options.log_errors = False  # to standard error, that is
    try:
        return cast("_Pattern", re2.compile(_ESCAPE.sub(_spell, pattern), options))
    except re2.error as error:
        (why,) = error.args
        raise ValueError(why.decode() if isinstance(why, bytes) else str(why)) from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error


def _spell(escape: re.Match[str]) -> str:
    r"""Return an escape as RE2 spells it: JSON Schema's `\u00e9` is its `\x{00e9}`."""
    return rf"\x{{{escape[1]}}}" if escape[1] else escape[0]


def _hold_to_pattern(_: object, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _hold_by_pattern(
    validator: Any,  # noqa: ANN401 - jsonschema does not tell its type
    patterns: Mapping[str, object],
    value: object,
    _: object,
) -> Iterator[ValidationError]:
    for name, part in value.items() if isinstance(value, dict) else ():
        for pattern, schema in patterns.items():
            if matches(pattern, name):
                yield from validator.descend(part, schema, path=name, schema_path=pattern)


def _hold_others(
    validator: object, rule: object, value: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Hand jsonschema's own rule the keys that no other keyword speaks of, so that it has no pattern to look for."""
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = {
        name: part
        for name, part in value.items()
        if name not in known and not any(matches(pattern, name) for pattern in patterns)
    }
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, rule, others, {})


_LinearValidator: Final = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _hold_to_pattern, "patternProperties": _hold_by_pattern, "additionalProperties": _hold_others},
)
