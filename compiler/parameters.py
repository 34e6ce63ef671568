"""Parameters of an analysis: the JSON Schema that its blueprint gives, checked before any config is held to it.

Schemas are self-contained: references are refused, so that checking never reaches for a network and always ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from compiler.mistakes import explain
from compiler.patterns import explain_pattern, validate_parameters
from compiler.shape import schema_validator
from compiler.source import FieldPath, spell_path

RESERVED: Final = re.compile(r"__.*__", re.DOTALL)
"""Keys of a config file that speak to the platform: `__duration__`, `__dataset_size__`, and what may come."""

KEYWORDS: Final = frozenset(
    {"type", "enum", "const", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "format", "$comment", "unit"}
    | {"maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains"}
    | {"maxProperties", "minProperties", "required", "dependentRequired", "contentEncoding", "contentMediaType"}
    | {"additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames", "allOf", "anyOf"}
    | {"oneOf", "prefixItems", "properties", "patternProperties", "dependentSchemas", "$defs", "contentSchema"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords of JSON Schema 2020-12, and `unit`, which is for people. A misspelt one would silently mean nothing."""

_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor", "$schema", "$vocabulary"})
_ONE: Final = ("additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames")
_ONE_MORE: Final = ("unevaluatedItems", "unevaluatedProperties", "contentSchema")
_MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas", "$defs")

_GRAMMAR: Final = "https://json-schema.org/understanding-json-schema tells what each keyword takes."
_LINEAR: Final = "Write it without look-around and back-references: then matching always ends."

Problem = tuple[FieldPath, str, str]
"""Path inside the schema, what is wrong, the way out."""


def complete_schema(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return the schema that configs are held to.

    A blueprint that lists parameters means these and no others: a misspelt parameter must not silently become the
    default. A blueprint without parameters leaves the config to its analysis.
    """
    if given is None:
        return {"type": "object"}
    strict = {} if "additionalProperties" in given else {"additionalProperties": False}
    return {"type": "object", **given, **strict}


def check_schema(schema: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a schema itself, whichever rule it breaks."""
    for _, path, message, way_out in check_parameters(schema):
        yield path, message, way_out


def check_parameters(schema: dict[str, Any]) -> Iterator[tuple[str, FieldPath, str, str]]:
    """Yield what is wrong with a schema itself: grammar, keywords, references, patterns, names, defaults, examples.

    Each comes with the id of the rule that it breaks.
    """
    broken = False
    grammar = schema_validator()
    rules: Any = grammar.schema
    for error in grammar.iter_errors(schema):
        for path, message, way_out, _ in explain(error, rules, _GRAMMAR):
            broken = True
            yield "parameters", path, message, way_out
    if broken:
        return
    if schema.get("type", "object") != "object":
        message = "must be 'object': a config file is a mapping."
        yield "parameters", ("type",), message, "Leave it out, and list the parameters in `properties`."
    for name in schema.get("properties", {}):
        if RESERVED.fullmatch(name):
            message = "is reserved: the platform reads such keys itself."
            yield "parameters-reserved", ("properties", name), message, "Use another name."
    problems = [problem for path, part in walk_schema(schema) for problem in _check_part(path, part)]
    problems += _check_unevaluated(schema)
    yield from (("parameters", *problem) for problem in problems)
    if not problems:
        yield from (("parameters-default", *problem) for problem in _check_defaults(schema))


def walk_schema(schema: object, path: FieldPath = ()) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
    """Yield a schema and every schema inside it, with paths."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key in (*_ONE, *_ONE_MORE):
        yield from walk_schema(schema.get(key), (*path, key))
    for key in _MANY:
        for index, part in enumerate(schema.get(key, ())):
            yield from walk_schema(part, (*path, key, index))
    for key in _NAMED:
        for name, part in schema.get(key, {}).items():
            yield from walk_schema(part, (*path, key, name))


def _check_part(path: FieldPath, part: dict[str, Any]) -> Iterator[Problem]:
    for key in part:
        if key not in KEYWORDS and key not in _REFERENCES and not key.startswith("x-"):
            near = get_close_matches(key, KEYWORDS, n=1)
            way_out = f"Did you mean {near[0]!r}?" if near else "Own keywords begin with x-."
            yield (*path, key), "is not a keyword of JSON Schema 2020-12: it would mean nothing.", way_out
    for key in sorted(_REFERENCES & part.keys()):
        yield (*path, key), "is not read here: the schema must stand on its own.", "Write the schema out in place."
    patterns = [((*path, "pattern"), part["pattern"])] if "pattern" in part else []
    patterns += [((*path, "patternProperties", name), name) for name in part.get("patternProperties", {})]
    for at, pattern in patterns:
        if why := explain_pattern(pattern):
            yield at, f"is not a regular expression that RE2 reads: {why}.", _LINEAR


def _check_unevaluated(schema: dict[str, Any]) -> Iterator[Problem]:
    """Refuse the one keyword that would look for patterns of another place, with an engine that may not end."""
    parts = list(walk_schema(schema))
    if any("patternProperties" in part for _, part in parts):
        for path, part in parts:
            if "unevaluatedProperties" in part:
                message = "is not read in a schema with patternProperties."
                yield (*path, "unevaluatedProperties"), message, "Use additionalProperties beside them."


def _check_defaults(schema: dict[str, Any]) -> Iterator[Problem]:
    """Hold every default and example to its own schema, and the defaults together to the whole."""
    alone = True
    for path, part in walk_schema(schema):
        given = [((*path, "default"), part["default"])] if "default" in part else []
        given += [((*path, "examples", n), value) for n, value in enumerate(part.get("examples", ()))]
        for at, value in given:
            for where, message, way_out in _misfits(part, value):
                alone = False
                yield at, f"does not satisfy its own schema: {message}{where}.", way_out
    properties = schema.get("properties", {})
    defaults = {n: p["default"] for n, p in properties.items() if isinstance(p, dict) and "default" in p}
    whole = {key: value for key, value in schema.items() if key != "required"}
    if alone and defaults:
        for where, message, way_out in _misfits(whole, defaults):
            yield (), f"the defaults together do not satisfy the schema: {message}{where}.", way_out


def _misfits(schema: dict[str, Any], value: object) -> Iterator[tuple[str, str, str]]:
    """Yield where a value does not satisfy a schema, what is wrong, and the way out."""
    for error in validate_parameters(schema, value):
        for inner, message, way_out, _ in explain(error, schema, "Change it, or the schema."):
            yield f" (at {spell_path(inner)})" if inner else "", message.rstrip("."), way_out
