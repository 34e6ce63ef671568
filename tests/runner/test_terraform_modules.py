"""What the modules say of themselves is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.hcl import REQUIRED_PROVIDER, REQUIRED_TERRAFORM
from runner.prepared import NEEDS

MODULES = Path(__file__).parents[2] / "modules"
NAMES = sorted(path.name for path in MODULES.iterdir() if (path / "main.tf").exists())


def declared(kind: str, file: Path) -> set[str]:
    return set(re.findall(rf'^{kind} "(\w+)" {{', file.read_text(), re.MULTILINE))


def test_the_four_modules_are_there() -> None:
    assert NAMES == ["analysis", "base", "group", "job"]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_lists_every_input_and_output(name: str) -> None:
    inputs, _, outputs = (MODULES / name / "README.md").read_text().partition("## Outputs")
    rows = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    assert set(rows.findall(inputs)) == declared("variable", MODULES / name / "variables.tf")
    assert set(rows.findall(outputs)) == declared("output", MODULES / name / "outputs.tf")


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_described_typed_and_tried_with_a_wrong_value(name: str) -> None:
    text = (MODULES / name / "variables.tf").read_text()
    tests = "".join(path.read_text() for path in (MODULES / name / "tests").glob("*.tftest.hcl"))
    for variable, body in re.findall(r'^variable "(\w+)" {\n(.*?)^}', text, re.MULTILINE | re.DOTALL):
        assert "description" in body
        assert re.search(r"^  type\s+=", body, re.MULTILINE)
        assert re.search(r"^  nullable\s+= false", body, re.MULTILINE) or re.search(
            r"^  default\s+= null", body, re.MULTILINE
        )
        if "validation {" in body:
            assert re.search(rf"expect_failures = \[[^]]*var\.{variable}\b", tests), f"{name}: {variable}"


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_the_prepared_provider_want_the_same_versions(name: str) -> None:
    versions = (MODULES / name / "versions.tf").read_text()
    wanted = re.findall(r'^ +version += "([^"]+)"', versions, re.MULTILINE)
    assert wanted == re.findall(r'^ +version += "([^"]+)"', NEEDS, re.MULTILINE)
    assert wanted == [REQUIRED_PROVIDER]
    assert f'required_version = "{REQUIRED_TERRAFORM}"' in versions


def test_no_module_looks_anything_up() -> None:
    for name in NAMES:
        assert not re.search(r'^data "', (MODULES / name / "main.tf").read_text(), re.MULTILINE), name
