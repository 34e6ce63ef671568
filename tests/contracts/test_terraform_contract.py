"""One suite for every Terraform: what it asserts of the fake, it asserts of the real one, in roots without a cloud."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from runner.events import Event, EventKind
from runner.provisioner import Provisioner
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from state.backend import LocalBackend
from state.errors import TerraformError
from tests.fakes.terraform import FakeTerraform

KINDS = [pytest.param("fake", id="fake"), pytest.param("real", id="real", marks=pytest.mark.terraform)]
MODULE = 'resource "terraform_data" "b" {\n}\n'
CODE = """resource "terraform_data" "a" {
}

module "inner" {
  source = "./inner"
}

output "word" {
  value = "hello"
}

output "numbers" {
  value = [1, 2]
}
"""
SLOW = """resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "sleep 60"
  }
}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("terraform")


@pytest.fixture(params=KINDS)
def terraform(request: pytest.FixtureRequest, cache: Path) -> Provisioner:
    if request.param == "fake":
        return FakeTerraform()
    return Terraform(find_toolchain(cache, os.environ), {})


@pytest.fixture
def root(tmp_path: Path, terraform: Provisioner) -> Path:
    folder = tmp_path / "root"
    (folder / "inner").mkdir(parents=True)
    (folder / "main.tf").write_text(CODE)
    (folder / "inner" / "main.tf").write_text(MODULE)
    terraform.prepare(folder)
    return folder


def test_a_prepared_root_has_the_lock_and_may_be_prepared_again(terraform: Provisioner, root: Path) -> None:
    terraform.prepare(root)
    assert (root / ".terraform.lock.hcl").read_text() == terraform.lock_file()
    assert "hashicorp/aws" in terraform.lock_file()


def test_a_plan_counts_and_makes_nothing(terraform: Provisioner, root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.plan"
    plan = terraform.plan(root, out=kept)
    assert (plan.add, plan.change, plan.destroy) == (2, 0, 0)
    assert not plan.is_empty
    assert {change.address for change in plan.changes} == {"terraform_data.a", "module.inner.terraform_data.b"}
    assert {change.action for change in plan.changes} == {"create"}
    assert kept.is_file()
    assert terraform.pull_state(root) == ""
    changed = terraform.show(root, kept)["resource_changes"]
    assert sorted(one["address"] for one in changed) == ["module.inner.terraform_data.b", "terraform_data.a"]


def test_an_apply_makes_what_is_missing_once(terraform: Provisioner, root: Path) -> None:
    first = terraform.apply(root, parallelism=2)
    assert (first.add, first.change, first.destroy) == (2, 0, 0)
    assert [one.action for one in first.planned] == ["create", "create"]
    assert first.outputs == {"word": "hello", "numbers": [1, 2]}
    assert first.seconds >= 0
    assert terraform.plan(root).is_empty
    assert terraform.apply(root, refresh=False).add == 0
    assert terraform.output(root) == {"word": "hello", "numbers": [1, 2]}
    assert json.loads(terraform.pull_state(root))["version"] == 4


def test_a_kept_plan_is_applied(terraform: Provisioner, root: Path, tmp_path: Path) -> None:
    terraform.plan(root, out=tmp_path / "kept.plan")
    assert terraform.apply(root, plan=tmp_path / "kept.plan").add == 2


def test_a_destroy_removes_all_and_may_be_repeated(terraform: Provisioner, root: Path) -> None:
    assert terraform.destroy(root).destroy == 0
    terraform.apply(root)
    gone = terraform.destroy(root, parallelism=2, refresh=False)
    assert (gone.add, gone.change, gone.destroy) == (0, 0, 2)
    assert gone.outputs == {}
    assert terraform.destroy(root).destroy == 0
    assert terraform.output(root) == {}


def test_events_come_in_order_and_the_log_has_every_line(terraform: Provisioner, root: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    log = tmp_path / "logs" / "apply.log"
    terraform.apply(root, on_event=events.append, log=log)
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.PLANNED) == kinds.count(EventKind.APPLY_START) == 2
    assert kinds.count(EventKind.APPLY_COMPLETE) == 2
    assert kinds.index(EventKind.PLANNED) < kinds.index(EventKind.APPLY_START) < kinds.index(EventKind.APPLY_COMPLETE)
    last = [event for event in events if event.kind is EventKind.SUMMARY][-1]
    assert last.changes is not None
    assert (last.changes.operation, last.changes.add) == ("apply", 2)
    lines = log.read_text().splitlines()
    assert len(lines) >= len(events)
    assert all(json.loads(line)["@message"] for line in lines)
    terraform.destroy(root, log=log)
    assert log.read_text().splitlines()[: len(lines)] == lines


def test_settings_of_the_backend_say_where_the_state_is(terraform: Provisioner, root: Path, tmp_path: Path) -> None:
    (root / "backend.tf").write_text('terraform {\n  backend "local" {\n  }\n}\n')
    settings = LocalBackend(folder=tmp_path / "state").settings("analyses/pca")
    terraform.init(root, settings)
    terraform.apply(root)
    assert (tmp_path / "state" / "analyses" / "pca.tfstate").is_file()
    assert not (root / "terraform.tfstate").exists()
    terraform.init(root, settings)
    assert terraform.plan(root).is_empty


def test_wrong_code_is_an_error_with_its_diagnostic(terraform: Provisioner, root: Path) -> None:
    terraform.validate(root)
    (root / "main.tf").write_text('resource "terraform_data" "a" {\n')
    with pytest.raises(TerraformError, match="Unclosed configuration block") as caught:
        terraform.validate(root)
    assert caught.value.command == "validate"
    assert any("Unclosed" in text for text in caught.value.diagnostics)
    with pytest.raises(TerraformError, match="Unclosed configuration block"):
        terraform.apply(root)


def test_a_root_that_is_not_there_is_an_error(terraform: Provisioner, tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match="no such folder"):
        terraform.apply(tmp_path / "nowhere")


def test_an_apply_can_be_stopped(terraform: Provisioner, root: Path) -> None:
    (root / "main.tf").write_text(SLOW)
    stop = threading.Event()

    def stop_once_it_creates(event: Event) -> None:
        if event.kind is EventKind.APPLY_START:
            stop.set()

    if isinstance(terraform, FakeTerraform):
        stop.set()
    with pytest.raises(TerraformError, match="stopped as asked") as caught:
        terraform.apply(root, on_event=stop_once_it_creates, stop=stop.is_set)
    assert caught.value.command == "apply"
    terraform.destroy(root)
