"""Patterns of blueprints end: whatever a blueprint and a submission say, matching takes time as their length does."""

from __future__ import annotations

import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compiler.patterns import explain_pattern, matches, validate_parameters
from runner.parameters import find_problems
from tests.compiler.projects import MINIMAL, Project

LONG = "a" * 100_000 + "!"
BACKTRACKS = "(a+)+$"


@pytest.fixture(autouse=True)
def _within_seconds() -> Any:
    start = time.process_time()
    yield
    assert time.process_time() - start < 5


def test_a_default_that_would_keep_a_check_busy_for_ever_is_judged_at_once(project: Project) -> None:
    parameter = f"{{type: string, pattern: '{BACKTRACKS}', default: {'a' * 40}!}}"
    project.add_blueprint("tiny", f"{MINIMAL}parameters: {{properties: {{a: {parameter}}}}}\n")
    (message,) = project.errors()
    assert message.startswith("blueprints/tiny/blueprint.yaml:6:")
    assert "a.default: does not satisfy its own schema" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": BACKTRACKS}}},
        {"additionalProperties": {"anyOf": [{"pattern": BACKTRACKS}, {"pattern": "^(a|aa)+$"}]}},
        {"propertyNames": {"pattern": BACKTRACKS}},
        {"patternProperties": {BACKTRACKS: {}}, "additionalProperties": False},
        {"allOf": [{"patternProperties": {BACKTRACKS: {}}}], "additionalProperties": False},
    ],
)
def test_a_submission_is_judged_at_once(schema: dict[str, Any]) -> None:
    assert find_problems({"a": LONG, LONG: LONG}, schema)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("(?=a)b", "invalid perl operator: (?="), (r"(a)\1", r"invalid escape sequence: \1"), ("(", "missing ): (")],
)
def test_what_cannot_be_matched_so_is_refused_with_the_way_out(project: Project, pattern: str, why: str) -> None:
    project.add_blueprint("tiny", f"{MINIMAL}parameters: {{properties: {{a: {{pattern: '{pattern}'}}}}}}\n")
    (message,) = project.errors()
    assert message == (
        f"blueprints/tiny/blueprint.yaml:6:40: parameters.properties.a.pattern: is not a regular expression that RE2 "
        f"reads: {why}. Write it without look-around and back-references: then matching always ends."
    )


def test_the_keyword_that_would_look_for_patterns_elsewhere_is_refused(project: Project) -> None:
    schema = f"allOf: [{{patternProperties: {{'{BACKTRACKS}': {{}}}}}}], unevaluatedProperties: false"
    project.add_blueprint("tiny", f"{MINIMAL}parameters: {{{schema}}}\n")
    (message,) = project.errors()
    assert "parameters.unevaluatedProperties: is not read in a schema with patternProperties." in message


def test_patterns_mean_what_json_schema_says() -> None:
    assert matches("b", "abc")
    assert matches(r"^\u00e9+$", "éé")
    assert matches(r"^\\u00e9$", r"\u00e9")
    assert not matches("a$", "a\n")
    assert not matches(".", "\ud800")
    assert explain_pattern("\ud800") == "it holds half a character"
    assert explain_pattern("^[a-z]+$") == ""


@pytest.mark.parametrize(
    "value", [{}, {"a": "x"}, {"a": "1"}, {"b1": 1}, {"b1": "1"}, {"c": 1}, {"b1": 1, "c": 2}, {"a": 1, "b2": 2}, []]
)
def test_verdicts_are_those_of_json_schema(value: object) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "[0-9]"}},
        "patternProperties": {"^b[0-9]$": {"type": "integer"}},
    }
    for others in (True, False, {"type": "integer", "maximum": 1}):
        whole = {**schema, "additionalProperties": others}
        ours = [(list(e.absolute_path), e.validator, e.instance) for e in validate_parameters(whole, value)]
        theirs = [
            (list(e.absolute_path), e.validator, e.instance) for e in Draft202012Validator(whole).iter_errors(value)
        ]
        assert ours == theirs
