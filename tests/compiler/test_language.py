"""The language of the YAML files: schemas and classes say the same, and every mistake is told in words."""

from __future__ import annotations

import time
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compiler.blueprint import GB, MB, MINUTE, Blueprint
from compiler.deployment import Deployment
from compiler.load import load_platform
from compiler.make import seconds_of
from compiler.parameters import complete_schema, walk_schema
from compiler.profile import Group
from compiler.shape import load_schema
from tests.compiler.projects import MINIMAL, Project

SCHEMAS = {"blueprint": Blueprint, "profile": Group, "deployment": Deployment}
NOT_IN_FILES = {"place"}
UNITS = {"duration": MINUTE, "max_duration": MINUTE, "result_gb": GB, "log_mb": MB, "max_gb": GB, "min_mb": MB}


def pairs(schema: dict[str, Any], cls: type, path: str = "") -> Iterator[tuple[str, dict[str, Any], type]]:
    """Yield every object of a schema with the class that holds it."""
    yield path, schema, cls
    hints = typing.get_type_hints(cls)
    for field in fields(cls):
        key = field.metadata.get("yaml", field.name)
        part = schema["properties"].get(key, {})
        for inner in (hints[field.name], *typing.get_args(hints[field.name])):
            if is_dataclass(inner) and field.name not in NOT_IN_FILES:
                yield from pairs(part.get("items", part), typing.cast("type", inner), f"{path}.{key}")


def all_pairs() -> list[Any]:
    return [
        pytest.param(part, cls, id=f"{name}{path}")
        for name, top in SCHEMAS.items()
        for path, part, cls in pairs(load_schema(name), top)
    ]


def default_of(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@pytest.mark.parametrize(("schema", "cls"), all_pairs())
def test_schema_and_class_have_the_same_fields(schema: dict[str, Any], cls: type) -> None:
    own = {f.metadata.get("yaml", f.name) for f in fields(cls)} - NOT_IN_FILES
    assert set(schema["properties"]) == own
    assert schema["additionalProperties"] is False
    needed = {f.name for f in fields(cls) if default_of(f) is MISSING} - NOT_IN_FILES
    assert set(schema.get("required", [])) == needed


@pytest.mark.parametrize(("schema", "cls"), all_pairs())
def test_schema_and_class_have_the_same_defaults(schema: dict[str, Any], cls: type) -> None:
    for field in fields(cls):
        key = field.metadata.get("yaml", field.name)
        told = schema["properties"].get(key, {})
        default = default_of(field)
        if "default" not in told:
            assert default in (MISSING, None) or key == "parameters", key
        elif is_dataclass(default):
            assert told["default"] == {}, key
        elif key == "keep_failed":
            assert seconds_of(told["default"]) == default
        else:
            plain = list(default) if isinstance(default, tuple) else default
            assert (told["default"] * UNITS[key] if key in UNITS else told["default"]) == plain, key


@pytest.mark.parametrize(("schema", "cls"), all_pairs())
def test_schema_and_class_have_the_same_words(schema: dict[str, Any], cls: type) -> None:
    hints = typing.get_type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        told = schema["properties"].get(field.metadata.get("yaml", field.name), {})
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            assert set(told["enum"]) == {str(value) for value in hint}
        elif hint in (str, str | None, int, int | None, bool, Decimal) and "$ref" not in told:
            names = {str: "string", bool: "boolean", int: "integer", Decimal: "number"}
            plain = hint if not isinstance(hint, types.UnionType) else typing.get_args(hint)[0]
            other = {"number", "string"} if field.metadata else set()
            assert told.get("type", "string") in {names[plain], *other}


@pytest.mark.parametrize("name", [*SCHEMAS, "submission"])
def test_schemas_are_schemas_and_explain_themselves(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    for path, part in walk_schema(schema):
        if "pattern" in part:
            assert part["pattern"].startswith("^"), path
            assert part["pattern"].endswith("$"), path
            assert "x-rule" in part, path
        for key, field in part.get("properties", {}).items():
            assert field.get("description"), (*path, key)


def test_the_smallest_blueprint_is_enough(project: Project) -> None:
    assert len(MINIMAL.splitlines()) <= 12
    assert project.errors() == project.warnings() == []
    blueprint = load_platform(project.folder).blueprints["tiny"]
    assert blueprint.limits.duration_s == 3600
    assert blueprint.limits.max_duration_s == 7200
    assert blueprint.limits.cost == Decimal(300)
    assert blueprint.parameters == {"type": "object"}
    assert (blueprint.environment.recipe, blueprint.environment.entry_point) == ("environment", "run.py")


def test_units_are_made_plain(project: Project) -> None:
    limits = "limits: {duration: 300, cost: 0.1, result_gb: 0.5, log_mb: 1}\ninputs: {max_gb: 2, suffixes: [.npy]}\n"
    project.add_blueprint("tiny", MINIMAL + limits)
    blueprint = load_platform(project.folder).blueprints["tiny"]
    assert blueprint.limits.duration_s == blueprint.limits.max_duration_s == 18000
    assert blueprint.limits.cost == Decimal("0.1")
    assert (blueprint.limits.result_bytes, blueprint.limits.log_bytes) == (500_000_000, 1_000_000)
    assert (blueprint.inputs.max_bytes, blueprint.inputs.suffixes) == (2_000_000_000, (".npy",))


def test_a_list_of_parameters_is_all_there_is() -> None:
    assert complete_schema({"properties": {"a": {}}})["additionalProperties"] is False
    assert complete_schema({"additionalProperties": True})["additionalProperties"] is True
    assert "additionalProperties" not in complete_schema(None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("stgae: public", ":6:1: stgae: is not a key that this place has. Did you mean 'stage'?"),
        ("zzz: 1", ":6:1: zzz: is not a key that this place has. Known here: access, bucket,"),
        ("limits: {duration: ten}", ':6:20: limits.duration: must be a whole number, not "ten".'),
        ("limits: {duration: true}", ":6:20: limits.duration: must be a whole number, not true."),
        ("limits: {duration: 0}", ":6:20: limits.duration: must be at least 1, not 0."),
        ("limits: {duration: 99999999}", ":6:20: limits.duration: must be at most 10080, not 99999999."),
        ("limits: {cost: 0}", ":6:16: limits.cost: must be more than 0, not 0."),
        ("limits: {duration: 61, max_duration: 60}", "limits.duration: 61 minutes are more than max_duration, 60."),
        ("limits: []", ":6:9: limits: must be a mapping, not a list."),
        ("description: 12", ':6:14: description: must be text, not 12. Put it in quotes: "12".'),
        (
            "protocol: per_datset",
            '"per_datset" is none of "per_dataset", "ensemble", "chain". Did you mean \'per_dataset\'?',
        ),
        ("inputs: {suffixes: [npy]}", ':6:21: inputs.suffixes[0]: "npy" is not an ending such as .npy.'),
        ("inputs: {suffixes: [.a, .a]}", "inputs.suffixes: has an entry twice."),
        ("environment: {recipe: ../other}", 'environment.recipe: "../other" is not a path below this folder'),
        ("environment: {recipe: /etc}", 'environment.recipe: "/etc" is not a path below'),
        ("environment: {recipe: a/../../b}", "is not a path below this folder"),
        ('environment: {entry_point: "run.py\\n"}', 'environment.entry_point: "run.py\\n" is not a path'),
        ("environment: {image: {mars: ami-12345678}}", 'environment.image.mars: "mars" is not a region'),
        ("environment: {image: {us-east-1: x}}", 'environment.image.us-east-1: "x" is not an image id'),
        ("outputs: [{title: x}]", ":6:11: outputs[0].path: is missing. It says: The file"),
        ("outputs: [{path: ../x}]", "is not a path inside the results"),
        ("access: {users: [ada]}", 'access.users[0]: "ada" is not an e-mail address.'),
        ("bucket: My_Bucket", 'bucket: "My_Bucket" is not a bucket name'),
        (
            "parameters: {properties: {a: {type: int}}}",
            ':6:37: parameters.properties.a.type: "int" is none of "array",',
        ),
        ("parameters: {type: array}", "parameters.type: must be 'object'"),
        ("parameters: {properties: {__duration__: {}}}", "parameters.properties.__duration__: is reserved"),
        ("parameters: {properties: {__dataset_size__: {}}}", "is reserved"),
        ("parameters: {properties: {a: {$ref: 'http://x/y'}}}", "parameters.properties.a.$ref: is not read here"),
        ("parameters: {properties: {a: {pattern: '('}}}", "a.pattern: is not a regular expression"),
        ("parameters: {patternProperties: {'(': {}}}", "is not a regular expression"),
        (
            "parameters: {properties: {a: {type: integer, maximum: 3, default: 4}}}",
            "parameters.properties.a.default: does not satisfy its own schema: must be at most 3, not 4.",
        ),
        ("parameters: {default: {b: 1}, properties: {}}", "parameters.default: does not satisfy its own schema"),
    ],
)
def test_each_mistake_is_told_with_place_field_rule_and_way_out(project: Project, change: str, expected: str) -> None:
    project.add_blueprint("tiny", MINIMAL + change + "\n")
    (message,) = project.errors()
    assert message.startswith("blueprints/tiny/blueprint.yaml:6:")
    assert expected in message


def test_a_missing_key_says_what_it_is_for(project: Project) -> None:
    project.write("users/lab1.yaml", "id: lab1\n")
    assert project.errors() == ["users/lab1.yaml:1:1: title: is missing. It says: The group's name, for people."]


def test_all_mistakes_of_all_files_are_told_at_once_and_sorted(project: Project) -> None:
    project.write("mayfly.yaml", "nmae: x\nregion: 7\n")
    project.write("users/lab1.yaml", "id: lab1\ntitle: ''\nanalysis: []\n")
    project.write("blueprints/tiny/blueprint.yaml", "a: 1\na: 2\n")
    errors = project.errors()
    assert errors == sorted(errors)
    assert {e.split(":")[0] for e in errors} == {"mayfly.yaml", "users/lab1.yaml", "blueprints/tiny/blueprint.yaml"}
    text = "\n".join(errors)
    for part in (
        "account: is missing.",
        "Did you mean 'name'?",
        "must be text, not 7",
        "must not be empty",
        "'analyses'",
    ):
        assert part in text


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_says_what_it_needs(project: Project, text: str) -> None:
    project.write("users/lab1.yaml", text)
    assert project.errors() == ["users/lab1.yaml: is empty. It needs at least: id, title."]


def test_a_list_is_no_profile(project: Project) -> None:
    project.write("users/lab1.yaml", "- 1\n")
    assert project.errors() == ["users/lab1.yaml:1:1: must be a mapping, not a list. It needs at least: id, title."]


def test_no_deployment_is_one_clear_error(project: Project) -> None:
    (project.folder / "mayfly.yaml").unlink()
    assert project.errors() == [
        "mayfly.yaml: cannot be read: No such file or directory. Write it, or run in the folder that has it."
    ]


def test_tags_of_the_deployment_are_held_to_aws_rules(project: Project) -> None:
    head = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'
    project.write("mayfly.yaml", head + 'tags: {"mayfly:job": x, "a\\nb": y, ok: 1}\n')
    text = "\n".join(project.errors())
    assert 'tags.mayfly:job: "mayfly:job" is not a tag key' in text
    assert "tags.ok: must be text, not 1." in text
    assert len(project.errors()) == 3


def test_a_network_is_whole_or_not_there(project: Project) -> None:
    head = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'
    project.write("mayfly.yaml", head + "network: {vpc: vpc-1234}\n")
    (message,) = project.errors()
    assert "network.subnets: is missing: 'vpc' needs it." in message


def test_a_megabyte_where_an_address_should_be_is_refused_at_once(project: Project) -> None:
    address = "a@" + "." * 900_000
    start = time.process_time()
    project.write("users/lab1.yaml", f"id: lab1\ntitle: x\nmembers: [{{name: A, email: '{address}@'}}]\n")
    text = "\n".join(project.errors())
    assert "is not an e-mail address" in text
    assert len(text) < 500
    assert time.process_time() - start < 5
