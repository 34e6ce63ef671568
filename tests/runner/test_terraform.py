"""The real Terraform: without init, killed, locked out, with broken state. Roots need no cloud."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runner.events import Event
from runner.slots import Slots
from runner.terraform import Terraform
from runner.toolchain import Toolchain, find_toolchain
from state.errors import TerraformError
from tests.machine import is_gone

pytestmark = pytest.mark.terraform
PROJECT = Path(__file__).parents[2]
SLOW = """resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "sleep 60"
  }
}
"""
QUICK = 'resource "terraform_data" "quick" {\n}\n'
JOB = """terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region                      = "eu-central-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
}

module "job" {
  source = "./module"

  deployment       = "demo"
  job              = "pca-0123456789ab"
  group            = "lab1"
  analysis         = "pca"
  deadline         = "2026-01-31T12:00:00Z"
  image            = "ami-0123456789abcdef0"
  instance_type    = "m5.large"
  volume_gb        = 8
  instance_profile = "demo-instance-lab1"
  tasks = {
    "0" = { name = "a.npy", user_data = "aGVsbG8=" }
    "1" = { name = "b.npy", user_data = "aGVsbG8=" }
  }
}
"""


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return find_toolchain(tmp_path_factory.mktemp("terraform"), os.environ)


@pytest.fixture
def terraform(toolchain: Toolchain) -> Terraform:
    return Terraform(toolchain, {}, grace_s=30, lock_timeout_s=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "main.tf").write_text(SLOW)
    return folder


def wait_for(what: Callable[[], bool], seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    return what()


def creating(event: Event) -> bool:
    return "Executing" in event.message


def test_a_job_is_planned_without_init_account_and_network(
    terraform: Terraform, toolchain: Toolchain, root: Path
) -> None:
    (root / "main.tf").write_text(JOB)
    shutil.copytree(PROJECT / "modules" / "job", root / "module", ignore=shutil.ignore_patterns("tests", "README.md"))
    nowhere = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/not/there",
    }
    offline = Terraform(toolchain, nowhere)
    offline.prepare(root)
    (linked,) = (root / ".terraform" / "providers").glob("*/hashicorp/aws/*/*")
    assert linked.is_symlink()
    before = (root / ".terraform.lock.hcl").read_text()
    plan = offline.plan(root, refresh=False)
    assert (plan.add, plan.change, plan.destroy) == (3, 0, 0)
    assert {change.address for change in plan.changes} == {
        'module.job.aws_instance.task["0"]',
        'module.job.aws_instance.task["1"]',
        "module.job.aws_security_group.job",
    }
    assert (root / ".terraform.lock.hcl").read_text() == before == terraform.lock_file()


def test_init_of_a_second_root_asks_no_registry(toolchain: Toolchain, root: Path, tmp_path: Path) -> None:
    """The provider was prepared once; what it came from, a mirror or the registry, is out of reach by now."""
    Terraform(toolchain, {}).lock_file()
    config = tmp_path / "registry-only.tfrc"
    config.write_text("disable_checkpoint = true\n")
    offline = Terraform(replace(toolchain, config=config), {"https_proxy": "http://127.0.0.1:9"})
    (root / "main.tf").write_text(
        JOB.partition("module")[0].replace("terraform {", 'terraform {\n  backend "local" {\n  }')
    )
    offline.init(root, {"path": str(tmp_path / "state")})
    assert (root / ".terraform.lock.hcl").read_text() == offline.lock_file()


def test_an_error_of_the_provider_is_told_with_its_place(terraform: Terraform, root: Path) -> None:
    (root / "main.tf").write_text(SLOW.replace("sleep 60", "echo no capacity >&2; exit 3"))
    terraform.prepare(root)
    with pytest.raises(TerraformError) as caught:
        terraform.apply(root, log=root / "terraform.log")
    assert "exit status 3" in caught.value.diagnostics[0]
    assert "terraform_data.slow, main.tf:2" in caught.value.diagnostics[0]
    assert str(caught.value).endswith(f"(log: {root / 'terraform.log'})")


def test_a_listener_that_fails_stops_terraform_gracefully(terraform: Terraform, root: Path) -> None:
    def break_down(event: Event) -> None:
        if creating(event):
            raise RuntimeError("ledger is gone")

    terraform.prepare(root)
    with pytest.raises(RuntimeError, match="ledger is gone"):
        terraform.apply(root, on_event=break_down)
    assert "tainted" in terraform.pull_state(root), "its state was saved"
    assert terraform.destroy(root).destroy == 1


def test_a_killed_terraform_is_told_and_is_not_in_the_way(terraform: Terraform, root: Path) -> None:
    terraform.prepare(root)

    def kill(event: Event) -> None:
        if creating(event):
            mine = [c for c in psutil.Process().children() if "apply" in c.cmdline()]
            mine[0].send_signal(signal.SIGKILL)

    with pytest.raises(TerraformError, match="killed by signal 9") as caught:
        terraform.apply(root, on_event=kill)
    assert caught.value.diagnostics == ()
    (root / "main.tf").write_text(QUICK)
    assert terraform.apply(root).add == 1


def test_a_state_in_use_names_who_holds_it(terraform: Terraform, root: Path) -> None:
    terraform.prepare(root)
    stop = threading.Event()
    complaints: list[str] = []

    def try_another(event: Event) -> None:
        if creating(event):
            with pytest.raises(TerraformError) as caught:
                terraform.destroy(root)
            complaints.append(str(caught.value))
            stop.set()

    with pytest.raises(TerraformError, match="stopped as asked"):
        terraform.apply(root, on_event=try_another, stop=stop.is_set)
    assert "its state is locked by" in complaints[0]
    assert "@" in complaints[0]
    assert "force-unlock" in complaints[0]


@pytest.mark.parametrize(
    "text", ["{", "not a state", '{"version": 4, "terraform_version": "1.11.4"', '{"version": 99}']
)
def test_a_broken_state_is_told_with_the_way_out(terraform: Terraform, root: Path, text: str) -> None:
    (root / "main.tf").write_text(QUICK)
    terraform.prepare(root)
    (root / "terraform.tfstate").write_text(text)
    with pytest.raises(TerraformError, match=r"its state cannot be read .*terraform\.tfstate\.backup"):
        terraform.apply(root)


def test_a_module_that_is_not_there_is_told(terraform: Terraform, root: Path) -> None:
    (root / "main.tf").write_text('module "m" {\n  source = "./nowhere"\n}\n')
    with pytest.raises(TerraformError, match="nowhere"):
        terraform.prepare(root)


def test_a_folder_that_cannot_be_prepared_is_told(terraform: Terraform, root: Path) -> None:
    (root / ".terraform").write_text("a file")
    with pytest.raises(TerraformError, match="cannot be made ready"):
        terraform.prepare(root)


def test_a_log_that_cannot_be_written_is_told_before_anything_starts(terraform: Terraform, root: Path) -> None:
    terraform.prepare(root)
    with pytest.raises(TerraformError, match="nothing was started"):
        terraform.apply(root, log=root / "main.tf" / "log")


def test_a_full_disk_under_the_log_does_not_stop_an_apply(terraform: Terraform, root: Path) -> None:
    (root / "main.tf").write_text(QUICK)
    terraform.prepare(root)
    assert terraform.apply(root, log=Path("/dev/full")).add == 1


def test_heavy_commands_wait_for_a_slot(toolchain: Toolchain, root: Path, tmp_path: Path) -> None:
    (root / "main.tf").write_text(QUICK)
    slots = Slots(tmp_path / "slots", lanes=2)
    terraform = Terraform(toolchain, {}, slots)
    terraform.prepare(root)
    with slots.take():
        with pytest.raises(TerraformError, match="stopped while waiting"):
            terraform.apply(root, stop=lambda: True)
        assert terraform.destroy(root).destroy == 0, "there is a lane for destroys"
    assert terraform.apply(root).add == 1


SCRIPT = """
import os, sys
from pathlib import Path
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
Terraform(find_toolchain(Path(sys.argv[1]), os.environ), {}).apply(Path(sys.argv[2]), log=Path(sys.argv[3]))
"""


def test_the_death_of_a_worker_leaves_a_state_that_the_next_can_destroy(
    terraform: Terraform, toolchain: Toolchain, root: Path, tmp_path: Path
) -> None:
    terraform.prepare(root)
    log = tmp_path / "terraform.log"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, toolchain.cache, root, log], cwd=PROJECT) as worker:
        assert wait_for(lambda: log.exists() and "Executing" in log.read_text())
        (child,) = psutil.Process(worker.pid).children()
        worker.kill()
    assert wait_for(lambda: is_gone(child.pid))
    assert json.loads((root / "terraform.tfstate").read_text())["resources"][0]["instances"][0]["status"] == "tainted"
    assert terraform.destroy(root).destroy == 1
