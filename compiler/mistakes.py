"""What a file or a value has wrong against a JSON Schema, in words: where, which rule, and the way out.

There is always a way out: where a rule has none of its own, the schema says what it wants of that place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jsonschema.exceptions import ValidationError

from compiler.patterns import matches
from compiler.shape import load_schema, show, suggest, validator
from compiler.source import Document, FieldPath
from compiler.wanted import say_key, say_wanted
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
    for error in validator(schema).iter_errors(document.data):
        rule = RULE_OF.get(str(error.validator), "wrong-value")
        for path, message, way_out, key in explain(error, load_schema(schema)):
            found[path, message] = document.error(message, path, way_out=way_out, key=key, rule=rule)
    return list(found.values())


Explanation = tuple[FieldPath, str, str, bool]
"""Path, what is wrong, the way out, and whether it is about the key rather than the value."""


def explain(error: ValidationError, whole: dict[str, Any], otherwise: str = "") -> Iterator[Explanation]:
    """Yield what a validation error means: several when several keys are missing or unknown.

    Args:
        error: what does not hold.
        whole: the schema that the value was held to.
        otherwise: the way out where neither the rule nor the schema names one.
    """
    for path, message, way_out, about_key in _explain(error):
        yield path, message, way_out or say_wanted(whole, list(error.absolute_schema_path)[:-1]) or otherwise, about_key


def _explain(error: ValidationError) -> Iterator[Explanation]:
    """Yield what an error means; the way out is empty where the rule has none of its own."""
    path: FieldPath = tuple(error.absolute_path)
    keyword, rule, value = str(error.validator), _anything(error.validator_value), _anything(error.instance)
    schema: dict[str, Any] = _anything(error.schema)
    about_key = "propertyNames" in error.schema_path
    if about_key:
        path = (*path, value)
    if keyword in {"required", "additionalProperties", "dependentRequired"}:
        yield from _explain_keys(path, keyword, rule, value, schema)
    elif keyword in {"anyOf", "oneOf"} and error.context:
        yield from _explain_choice(path, error.context, value)
    elif keyword == "enum":
        yield path, f"{show(value)} is none of {_list_words(rule)}.", suggest(value, rule, say_all=False), about_key
    elif keyword == "type":
        quotes = f'Put it in quotes: "{value}".' if rule == "string" and _is_number(value) else ""
        yield path, f"must be {_types(rule)}, not {show(value)}.", quotes, about_key
    elif keyword == "pattern":
        yield path, f"{show(value)} {schema.get('x-rule', f'does not match the pattern {rule}')}.", "", about_key
    else:
        yield path, _rule_in_words(keyword, rule, value), "", about_key


def _explain_choice(path: FieldPath, errors: Iterable[ValidationError], value: object) -> Iterator[Explanation]:
    """Yield why a value fits none of several schemas: the reasons of the only one of its type, or one of each."""
    reasons: dict[object, list[ValidationError]] = {}
    for error in errors:
        reasons.setdefault(error.relative_schema_path[0], []).append(error)
    typed = [each for each in reasons.values() if not any(e.validator == "type" and not e.path for e in each)]
    if not typed:
        types = dict.fromkeys(name for each in reasons.values() for e in each for name in _type_names(e))
        yield path, f"must be {_types(list(types))}, not {show(value)}.", "", False
    elif len(typed) == 1:
        for error in typed[0]:
            yield from _explain(error)
    else:
        firsts = dict.fromkeys(next(_explain(each[0]))[1].rstrip(".") for each in typed)
        yield path, f"{', or '.join(firsts)}.", "", False


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
            yield (*path, name), "is missing.", say_key(schema, name), True
    elif keyword == "dependentRequired":
        for name, needed in sorted(rule.items()):
            for other in sorted(set(needed) - value.keys()) if name in value else ():
                yield (*path, other), f"is missing: {name!r} needs it.", say_key(schema, other), True
    else:
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name in value:
            if name not in known and not any(matches(pattern, name) for pattern in patterns):
                yield (*path, name), "is not a key that this place has.", suggest(name, known) or "Remove it.", True


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
    "contains": lambda _: "has no entry of the kind that it needs",
    "minContains": lambda n: f"needs at least {n} entries of one kind",
    "maxContains": lambda n: f"may have at most {n} entries of one kind",
    "oneOf": lambda _: "fits several of the kinds that exclude one another",
    "not": lambda _: "is just what it must not be",
    "items": lambda _: "has more entries than are wanted",
    "unevaluatedItems": lambda _: "has entries that this place does not have",
    "unevaluatedProperties": lambda _: "has keys that this place does not have",
}


_TELLS_VALUE: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "const"})


def _rule_in_words(keyword: str, rule: object, value: object) -> str:
    tail = f", not {show(value)}" if keyword in _TELLS_VALUE else ""
    words = _WORDS.get(keyword)
    return f"{words(rule)}{tail}." if words else "is not allowed here."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_names(error: ValidationError) -> list[str]:
    rule = _anything(error.validator_value) if error.validator == "type" else []
    return [rule] if isinstance(rule, str) else rule


def _types(rule: str | list[str]) -> str:
    return " or ".join(TYPES[name] for name in ([rule] if isinstance(rule, str) else rule))


def _list_words(values: Iterable[object]) -> str:
    return ", ".join(map(show, values))
