"""Every mistake is told in words and names a way out, also where the rule has none of its own.

`Project.errors` holds whatever the other tests break to the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from compiler.mistakes import explain
from compiler.patterns import validate_parameters
from tests.compiler.projects import MINIMAL, Project


@pytest.mark.parametrize(
    ("change", "way_out"),
    [
        ("parameters: {properties: {a: {type: int}}}", "Did you mean 'integer'?"),
        ("limits: {duration: 0}", "It says: The most a task runs when the job declares nothing, minutes."),
        ("limits: {duration: 0}", "Left out, it is 60."),
        ("keep_failed: soon", "Left out, it is "),
        ("environment: {image: {mars: ami-12345678}}", "It says: "),
        ("parameters: {properties: {a: {minimum: low}}}", "https://json-schema.org/"),
        ("parameters: {properties: {a: {title: A, maximum: 1, default: 2}}}", "It says: A. Left out, it is 2."),
        ("parameters: {properties: {a: {maximum: 1, examples: [2]}}}", "For example: 2."),
        ("parameters: {properties: {default: {maximum: 1, examples: [2]}}}", "For example: 2."),
        ("parameters: {properties: {}, default: {b: 1}}", "Remove it."),
    ],
)
def test_a_rule_without_a_way_out_of_its_own_says_what_is_wanted(project: Project, change: str, way_out: str) -> None:
    project.add_blueprint("tiny", MINIMAL + change + "\n")
    (error,) = project.inspect().findings.errors
    assert way_out in error.way_out


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", 'must be a whole number or null, not "x".'),
        ({"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]}, 4, "must be at most 3, not 4."),
        ({"oneOf": [{"maximum": 3}, {"const": 9}]}, 4, "must be at most 3, not 4, or must be 9, not 4."),
        ({"oneOf": [{"maximum": 3}, {"maximum": 9}]}, 1, "fits several of the kinds that exclude one another."),
        ({"not": {"type": "integer"}}, 1, "is just what it must not be."),
        ({"contains": {"type": "integer"}}, ["x"], "has no entry of the kind that it needs."),
        ({"contains": {"type": "integer"}, "maxContains": 1}, [1, 2], "may have at most 1 entries of one kind."),
        ({"contains": {"type": "integer"}, "minContains": 2}, [1], "needs at least 2 entries of one kind."),
        ({"prefixItems": [{}], "items": False}, [1, 2], "has more entries than are wanted."),
        ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], "has entries that this place does not have."),
        (
            {"properties": {"a": {}}, "unevaluatedProperties": False},
            {"b": 1},
            "has keys that this place does not have.",
        ),
        ({"properties": {"a": False}}, {"a": 1}, "is not allowed here."),
        ({"if": {"required": ["a"]}, "then": {"maxProperties": 1}}, {"a": 1, "b": 1}, "may have at most 1 entries."),
        ({"patternProperties": {"^a": {"maximum": 1}}}, {"a": 2}, "must be at most 1, not 2."),
    ],
)
def test_each_keyword_of_a_schema_is_told_in_words(schema: dict[str, Any], value: object, message: str) -> None:
    (error,) = validate_parameters(schema, value)
    ((_, told, way_out, _),) = explain(error, schema, "Change it.")
    assert told == message
    assert way_out == "Change it."
