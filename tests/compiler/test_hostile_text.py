"""Text of every field of every file is data: what it says changes no HCL, adds no resource and calls no function."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compiler.load import inspect_project, load_platform
from compiler.platform import render_platform
from compiler.shape import load_schema
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from tests.compiler.projects import REPOSITORY, Project
from tests.compiler.test_hcl_quoting import HOSTILE

BLUEPRINT: dict[str, Any] = {
    "id": "tiny",
    "title": "T",
    "description": "D",
    "links": [{"title": "L", "url": "https://a.example/x"}],
    "stage": "public",
    "resources": [{"instance_type": "t3.medium", "zones": ["us-east-1a"]}],
    "environment": {"recipe": "environment", "entry_point": "run.py", "image": {"us-east-1": "ami-12345678"}},
    "inputs": {"suffixes": [".npy"]},
    "protocol": "per_dataset",
    "keep_failed": "30m",
    "parameters": {"properties": {"p": {"title": "P", "type": "string", "default": "d", "examples": ["e"]}}},
    "outputs": [{"path": "a.csv", "title": "O"}],
    "access": {"groups": ["lab1"], "users": ["user@b.example"]},
    "bucket": "demo-bucket",
    "contact": "contact@b.example",
    "citation": "C",
    "retention": {"results_days": 90},
}
PROFILE: dict[str, Any] = {
    "id": "lab1",
    "title": "T",
    "members": [{"name": "N", "email": "a@b.example", "role": "owner"}, {"name": "U", "email": "user@b.example"}],
    "analyses": ["tiny"],
    "collaborators": ["lab2"],
    "credentials": {"kind": "iam_user", "pgp_key": "AAAA"},
    "notify": {"emails": ["n@b.example"], "webhooks": ["https://hook.example/x"]},
    "storage": {"quota_gb": 5},
}
DEPLOYMENT: dict[str, Any] = {
    "name": "demo",
    "cloud": "aws",
    "state": {"bucket": "demo-states"},
    "account": "123456789012",
    "region": "us-east-1",
    "tags": {"key": "value"},
    "mail": {"server": "mail.example", "sender": "m@b.example"},
    "permissions_boundary": "arn:aws:iam::123456789012:policy/bound",
    "runner_trust": ["arn:aws:iam::123456789012:role/host"],
    "cors_origins": ["https://page.example"],
}
FILES = {
    "blueprints/tiny/blueprint.yaml": BLUEPRINT,
    "users/lab1.yaml": PROFILE,
    "mayfly.yaml": DEPLOYMENT,
}

Where = tuple[str, tuple[str | int, ...]]


def texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every text, keys of mappings that people name included."""
    if isinstance(value, str):
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in rows:
        yield from texts(part, (*path, key))


FIELDS: list[Where] = [(file, path) for file, data in FILES.items() for path in texts(data)]


def with_text(where: Where, text: str) -> dict[str, Any]:
    files = copy.deepcopy(FILES)
    data: Any = files[where[0]]
    for part in where[1][:-1]:
        data = data[part]
    data[where[1][-1]] = text
    return files


def spell(data: Any) -> str:
    """Return data as YAML: JSON, but for characters that JSON spells as two halves."""
    text = json.dumps(data, ensure_ascii=False)
    return "".join(c if c.isascii() and c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def write(project: Project, files: dict[str, Any]) -> None:
    for file, data in files.items():
        project.write(file, spell(data))
    project.write("users/lab2.yaml", "id: lab2\ntitle: T\nanalyses: [tiny]\n")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(folder=tmp_path_factory.mktemp("hostile"))
    made.add_blueprint("tiny", "")
    write(made, FILES)
    return made


def structure(files: dict[str, str]) -> dict[str, str]:
    """What Terraform reads as a program: everything but the values."""
    return {path: text for path, text in files.items() if not path.endswith(".auto.tfvars.json")}


def names_in(schema: Any) -> Iterator[str]:
    """Yield the names of all fields that hold text without a list of known words."""
    for key, part in schema.get("properties", {}).items():
        inner = part.get("items", part)
        if (inner.get("type") == "string" or "$ref" in inner) and "enum" not in inner:
            yield key
        yield from names_in(inner)


@pytest.mark.parametrize(("name", "data"), [("blueprint", BLUEPRINT), ("profile", PROFILE), ("deployment", DEPLOYMENT)])
def test_no_field_with_text_is_left_out_here(name: str, data: dict[str, Any]) -> None:
    tried = {part for path in texts(data) for part in path}
    left = set(names_in(load_schema(name))) - tried
    needs_more = {"renamed_from", "region", "analysis", "entry_point", "instance_type", "inputs", "bucket"}
    network = {"vpc", "subnets", "outside_buckets"}
    assert left <= needs_more | network


ON_AWS = {key: DEPLOYMENT[key] for key in ("name", "account", "region")} | {"cloud": "aws", "state": {"bucket": "s-t"}}
BACKEND = re.compile(r'(?m)^  backend "\w+" \{\}\n')
NOBODY = """\
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}
"""
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


@given(where=st.sampled_from(FIELDS), text=TEXT)
@example(where=("users/lab1.yaml", ("members", 0, "email")), text="${file(`x`)}%{if}'\"<b>@b.example")
@example(where=("users/lab1.yaml", ("notify", "webhooks", 0)), text='https://x/"$(id)${x}%{y}<script>')
@example(where=("blueprints/tiny/blueprint.yaml", ("description",)), text='EOF\n${x}\n"\x1b[2J')
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_is_refused_by_name_or_changes_values_only(hostile: Project, where: Where, text: str) -> None:
    write(hostile, FILES)
    plain = inspect_project(hostile.folder).platform
    assert plain is not None
    write(hostile, with_text(where, text))
    inspection = inspect_project(hostile.folder)
    if inspection.platform is None:
        for error in inspection.findings.errors:
            assert "Traceback" not in str(error)
            assert error.way_out or error.message
            assert error.rule != "source"
        assert inspection.findings.errors
        return
    before, after = render_platform(plain), render_platform(inspection.platform)
    assert structure(after) == structure(before)
    was = value_at(where)
    assert values_in(after) == {path: said_instead(path, value, was, text) for path, value in values_in(before).items()}


def value_at(where: Where) -> str:
    value: Any = FILES[where[0]]
    for part in where[1]:
        value = value[part]
    plain: str = value
    return plain


def values_in(files: dict[str, str]) -> dict[tuple[str | int, ...], Any]:
    """Every value that Terraform is given, by root, name and place, but the hash of what the values say."""
    given = {path: json.loads(text) for path, text in files.items() if path.endswith(".auto.tfvars.json")}
    return {path: value for path, value in leaves(given) if path[-1] != "version_id"}


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not rows and value not in ({}, []):
        yield path, value
    for key, part in rows:
        yield from leaves(part, (*path, key))


def said_instead(path: tuple[str | int, ...], value: Any, was: str, text: str) -> Any:
    """What stands where a value stood, when one text of a person is another: that text, unchanged and nowhere else."""
    return text if value == was and path[-1] not in OURS else value


OURS = {"partition", "region", "account", "archive_class"}
"""Values that one of the texts above may be equal to by chance."""


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (("users/lab1.yaml", ("members", 0, "email")), "${file(`x`)}%{if}'\"<b>@b.example"),
        (("mayfly.yaml", ("tags", "key")), "\u00e9\u4e2d =+@:/-_."),
        (("mayfly.yaml", ("cors_origins", 0)), "http://other.example:8000"),
        (("mayfly.yaml", ("runner_trust", 0)), "arn:aws-cn:sts::123456789012:assumed-role/a+=,.@_/-"),
        (("mayfly.yaml", ("permissions_boundary",)), "arn:aws:iam::aws:policy/a+=,.@_/-"),
        (("users/lab1.yaml", ("credentials", "pgp_key")), "BBBB"),
    ],
)
def test_texts_that_terraform_is_given_are_among_those_tried(hostile: Project, where: Where, text: str) -> None:
    write(hostile, with_text(where, text))
    platform = inspect_project(hostile.folder).platform
    assert platform is not None, hostile.errors()
    assert text in values_in(render_platform(platform)).values()


@pytest.mark.slow
@pytest.mark.terraform
@pytest.mark.parametrize("root", ["base", "analyses/tiny"])
def test_terraform_takes_every_value_as_it_is(tmp_path: Path, root: str) -> None:
    """A real plan of the other roots, with a tag that no check of ours would let through."""
    made = Project(folder=tmp_path / "project")
    made.add_blueprint("tiny", "id: tiny\ntitle: T\nstage: public\nresources: [{instance_type: t3.medium}]\n")
    made.write("mayfly.yaml", spell({**ON_AWS, "tags": {"key": "PLAIN"}}))
    files = render_platform(load_platform(made.folder))
    text = '"${file(`x`)}%{if}"\n<b>`id`$(id)\'#//EOF\N{PILE OF POO}\\'
    hostile = {path: content.replace('"PLAIN"', json.dumps(text)) for path, content in files.items()}
    plans = {name: plan_of(tmp_path / name, one, root) for name, one in (("plain", files), ("hostile", hostile))}
    made_by = {name: sorted(change["address"] for change in plan["resource_changes"]) for name, plan in plans.items()}
    assert made_by["hostile"] == made_by["plain"]
    said = {name: list(texts_of(plan["planned_values"])) for name, plan in plans.items()}
    assert said["plain"].count("PLAIN") > 0
    assert said["hostile"] == [text if one == "PLAIN" else one for one in said["plain"]]


@pytest.mark.slow
@pytest.mark.terraform
def test_terraform_plans_hostile_text_unchanged_and_makes_nothing_more(tmp_path: Path) -> None:
    """A real plan of the group's root, the one that most text of people gets to."""
    local = '"${file(`x`)}%{if}"<b>`id`$(id)\'#//EOF\N{PILE OF POO}'
    hostile = {f"{local}@b.example", "${1+1}@b.example", "%{x}@b.example"}
    plans = {}
    for name, emails in (("plain", {"x@b.example", "y@b.example", "z@b.example"}), ("hostile", hostile)):
        made = Project(folder=tmp_path / name)
        made.add_blueprint("tiny", "id: tiny\ntitle: T\nstage: public\nresources: [{instance_type: t3.medium}]\n")
        members = [{"name": email, "email": email, "role": "owner"} for email in sorted(emails)]
        made.write("users/lab1.yaml", spell({"id": "lab1", "title": "${1+1}", "members": members}))
        made.write("mayfly.yaml", spell(ON_AWS))
        platform = made.inspect().platform
        assert platform is not None, made.errors()
        plans[name] = plan_of(tmp_path / name / "root", render_platform(platform), "groups/lab1")
    made_by = {name: sorted(change["address"] for change in plan["resource_changes"]) for name, plan in plans.items()}
    assert made_by["hostile"] == made_by["plain"]
    assert set(addresses(plans["hostile"]["variables"])) == hostile
    assert set(addresses(plans["hostile"]["planned_values"])) == hostile


def addresses(value: Any) -> Iterator[str]:
    """Yield every e-mail address of a plan."""
    return (text for text in texts_of(value) if text.endswith("@b.example"))


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_of(part)


def plan_of(root: Path, files: dict[str, str], name: str) -> Any:
    """Plan a root without an account, a state or a network, and return the plan as Terraform tells it."""
    for path, text in files.items():
        if path.startswith(f"{name}/"):
            target = root / path.removeprefix(f"{name}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(BACKEND.sub("", text), encoding="utf-8")
    (root / "dummy_override.tf").write_text(NOBODY)
    toolchain = find_toolchain(REPOSITORY / ".mayfly" / "terraform", os.environ)
    terraform = Terraform(toolchain, {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"})
    terraform.prepare(root)
    terraform.plan(root, root / "plan", refresh=False)
    return terraform.show(root, root / "plan")
