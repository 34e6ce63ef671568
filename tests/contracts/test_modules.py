"""Every module by Terraform's own word: it and its examples are valid, and its tests pass. No account, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.terraform import Terraform, terraform_environment
from runner.toolchain import Toolchain, find_toolchain

pytestmark = [pytest.mark.slow, pytest.mark.terraform]
REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(path.parent for path in (REPOSITORY / "modules").glob("*/main.tf"))


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    return find_toolchain(REPOSITORY / ".mayfly" / "terraform", os.environ)


@pytest.fixture(params=MODULES, ids=lambda module: module.name)
def module(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, so that Terraform leaves nothing beside the source."""
    copied = tmp_path / "module"
    shutil.copytree(request.param, copied, ignore=shutil.ignore_patterns(".terraform*"))
    return copied


def test_a_module_and_its_examples_are_valid(module: Path, toolchain: Toolchain) -> None:
    examples = sorted(path.parent for path in module.glob("examples/*/main.tf"))
    assert examples, "a module shows how it is called"
    terraform = Terraform(toolchain, {})
    for folder in (module, *examples):
        terraform.prepare(folder)
        terraform.validate(folder)


def test_a_module_passes_its_own_tests(module: Path, toolchain: Toolchain) -> None:
    assert list(module.glob("tests/*.tftest.hcl")), "a module has tests"
    Terraform(toolchain, {}).prepare(module)
    done = subprocess.run(
        [toolchain.binary, "test", "-no-color"],
        cwd=module,
        env=terraform_environment(toolchain, {}, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert ", 0 failed" in done.stdout, done.stdout
