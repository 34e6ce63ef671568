"""The committed provider lock decides on AWS, and never keeps anybody from trying Mayfly on the embedded cloud."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from compiler.load import load_platform
from runner.mirror import platform_name
from runner.prepared import prepare_provider
from runner.provider_lock import binding_lock, locked_version
from runner.terraform import Terraform
from runner.toolchain import Toolchain, find_toolchain
from state.errors import EnvironmentMissingError, TerraformError
from tests.compiler.projects import REPOSITORY, aws_project, small_project

HOST = "registry.terraform.io"


def lock(version: str, host: str = HOST) -> str:
    other = f'provider "{host}/hashicorp/random" {{\n  version = "3.0.0"\n}}\n\n'
    return (
        f'# A comment.\n\n{other}provider "{host}/hashicorp/aws" {{\n  version     = "{version}"\n  hashes = []\n}}\n'
    )


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A machine with a Terraform, and with two providers in its own folder."""
    terraform = tmp_path / "bin" / "terraform"
    terraform.parent.mkdir()
    terraform.write_text("#!/bin/sh\necho 'Terraform v1.11.4'\n")
    terraform.chmod(0o755)
    for version in ("5.200.0", "6.99.0"):
        leaf = tmp_path / "home/.terraform.d/plugins" / HOST / "hashicorp/aws" / version / platform_name()
        leaf.mkdir(parents=True)
        (leaf / f"terraform-provider-aws_v{version}_x5").write_text("provider")
        (leaf / f"terraform-provider-aws_v{version}_x5").chmod(0o755)
    return {"PATH": str(terraform.parent), "HOME": str(tmp_path / "home")}


def find(tmp_path: Path, env: dict[str, str], text: str) -> Toolchain:
    return find_toolchain(tmp_path / "cache", env, lock=text)


def test_it_binds_a_deployment_on_aws_and_no_embedded_one(tmp_path: Path) -> None:
    embedded, on_aws = small_project(tmp_path / "embedded"), aws_project(tmp_path / "aws")
    for made in (embedded, on_aws):
        made.write(".terraform.lock.hcl", lock("5.200.0"))
    assert binding_lock(load_platform(embedded.folder)) == ""
    assert binding_lock(load_platform(on_aws.folder)) == lock("5.200.0")


def test_the_version_is_that_of_the_right_provider_and_registry() -> None:
    assert locked_version(lock("5.200.0"), HOST) == "5.200.0"
    assert locked_version(lock("5.200.0"), "registry.opentofu.org") == ""
    assert locked_version("", HOST) == ""


def test_the_lock_of_this_repository_names_a_provider_that_the_modules_take() -> None:
    text = (REPOSITORY / ".terraform.lock.hcl").read_text(encoding="utf-8")
    assert locked_version(text, HOST) == "5.100.0"
    assert '"h1:' in text


def test_the_locked_provider_is_taken_and_without_a_lock_the_newest(tmp_path: Path, env: dict[str, str]) -> None:
    assert find(tmp_path, env, "").provider == "6.99.0"
    assert find(tmp_path, env, lock("5.200.0")).provider == "5.200.0"


def test_another_provider_than_the_locked_one_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(EnvironmentMissingError) as caught:
        find(tmp_path, env, lock("5.300.0"))
    message = str(caught.value)
    assert "names version 5.300.0 of the AWS provider" in message
    assert "has 6.99.0. Put that one there, too, or lock this one: docs/aws-setup.md" in message


class Init:
    """Does what `terraform init` does, and remembers which lock it found."""

    def __init__(self, provider: Path) -> None:
        self.provider, self.found = provider, ["none"]

    def __call__(self, folder: Path) -> None:
        kept = folder / ".terraform.lock.hcl"
        self.found.append(kept.read_text() if kept.exists() else "")
        if "sorry" in self.found[-1]:
            raise TerraformError("no", diagnostics=["it doesn't match any of the checksums"])
        leaf = folder / ".terraform/providers" / HOST / "hashicorp/aws" / "5.200.0" / platform_name()
        leaf.parent.mkdir(parents=True)
        leaf.symlink_to(self.provider)
        kept.write_text(self.found[-1] or "its own lock")


def test_init_is_held_to_the_lock_and_what_it_made_is_kept_apart(tmp_path: Path, env: dict[str, str]) -> None:
    locked, free = find(tmp_path, env, lock("5.200.0")), find(tmp_path, env, "")
    assert locked.mirror is not None
    init = Init(locked.mirror / HOST / "hashicorp/aws/5.200.0" / platform_name())
    assert prepare_provider(locked, init).lock == lock("5.200.0")
    assert prepare_provider(free, init).lock == "its own lock"
    assert prepare_provider(locked, init).lock == lock("5.200.0")
    assert init.found == ["none", lock("5.200.0"), ""]


def test_a_lock_without_this_machine_s_checksums_names_the_way_out(tmp_path: Path, env: dict[str, str]) -> None:
    locked = find(tmp_path, env, lock("5.200.0") + "# sorry\n")
    with pytest.raises(EnvironmentMissingError, match="terraform providers lock -platform=…` adds them"):
        prepare_provider(locked, Init(tmp_path))


@pytest.mark.slow
@pytest.mark.terraform
def test_terraform_takes_no_provider_with_another_checksum(tmp_path: Path) -> None:
    ours = Terraform(find_toolchain(tmp_path / "free", os.environ), {}).lock_file()
    assert Terraform(find_toolchain(tmp_path / "locked", os.environ, lock=ours), {}).lock_file() == ours
    forged = re.sub(r'"(h1|zh):[^"]*"', '"h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="', ours)
    with pytest.raises(EnvironmentMissingError, match="checksums"):
        Terraform(find_toolchain(tmp_path / "forged", os.environ, lock=forged), {}).lock_file()
