"""The schema of submit files and intake say the same: what a client may check beforehand is what the platform does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from compiler.shape import load_schema
from runner.intake import parse_submission, unknown_fields
from state.errors import SubmissionError
from state.submission import ObjectVersion, Submission

SCHEMA = load_schema("submission")
FIELDS: dict[str, dict[str, Any]] = SCHEMA["properties"]
ANY_CLIENT = Draft202012Validator(SCHEMA)
"""What everybody has who checks a submit file without us."""
SOURCE = ObjectVersion(bucket="lab-platform-pca", key="lab1/submissions/submit.json", version="v1")
GOOD = SCHEMA["examples"][0]


def parse(fields: dict[str, Any]) -> Submission | str:
    """Return the submission, or the sentence in which it is refused."""
    try:
        return parse_submission(json.dumps(fields).encode(), SOURCE)
    except SubmissionError as error:
        return error.reason


@pytest.mark.parametrize("example", SCHEMA["examples"])
def test_each_example_is_a_submission(example: dict[str, Any]) -> None:
    assert ANY_CLIENT.is_valid(example)
    assert isinstance(parse(example), Submission)


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_explains_itself_and_its_examples_fit(field: str) -> None:
    part = FIELDS[field]
    assert part["title"]
    assert part["examples"]
    for example in part["examples"]:
        assert ANY_CLIENT.is_valid({**GOOD, field: example})


@pytest.mark.parametrize("field", FIELDS)
def test_intake_reads_each_field(field: str) -> None:
    assert unknown_fields(json.dumps({field: 1}).encode()) == ()
    assert str(parse({**GOOD, field: {}})).startswith(f"{field} is {{}}, but must be ")


@pytest.mark.parametrize("field", FIELDS)
def test_only_required_fields_are_missed(field: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != field}
    assert ANY_CLIENT.is_valid(rest) is (field not in SCHEMA["required"])
    assert isinstance(parse(rest), str) is (field in SCHEMA["required"])


TEXT = st.text(max_size=8) | st.sampled_from(
    ["lab1/inputs/a.npy", "lab1/configs/c.yaml", "lab2/inputs/b.npy", "s3://own-bucket/a", "t1", " ", "a/b", "x" * 101]
)
VALUE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
ANYTHING = VALUE | st.lists(VALUE, max_size=3) | st.dictionaries(st.text(), VALUE, max_size=2)


@given(st.dictionaries(st.sampled_from([*FIELDS, "email"]), ANYTHING, max_size=2))
def test_what_the_schema_refuses_intake_refuses_and_the_rest_is_read_or_refused_in_words(
    changes: dict[str, Any],
) -> None:
    submission = {**GOOD, **changes}
    fits, found = ANY_CLIENT.is_valid(submission), parse(submission)
    event(f"schema {'accepts' if fits else 'refuses'}, intake {'refuses' if isinstance(found, str) else 'accepts'}")
    if isinstance(found, str):
        assert found.isprintable()
        assert found.endswith((".", "?"))
    else:
        assert fits
