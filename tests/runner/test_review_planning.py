"""Several roots at once: one that fails keeps none back, and what the cheap way cannot do, the plain way does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from runner.provisioner import PlanSummary
from runner.review.planning import LANE_BYTES, OWN_BYTES, Planned, Planner
from runner.review.proxy import Schema
from runner.terraform import Terraform
from state.errors import TerraformError
from tests.fakes.terraform import FakeTerraform

CODE = 'resource "aws_s3_bucket" "data" {\n}\n'


class Attached(FakeTerraform):
    """A Terraform that a provider may be attached to; `refuses` says what it then does not do."""

    def __init__(self, folder: Path, refuses: str = "", *, attached: str = "") -> None:
        super().__init__()
        self.cache, self.environment, self.refuses, self.attached = folder / "cache", {}, refuses, attached
        self.provider_program = folder / "provider"
        self.provider_program.touch()
        self.plans: list[tuple[str, str]] = []

    def served_by(self, attach: str) -> Attached:
        served = Attached(self.provider_program.parent, self.refuses, attached=attach)
        served.plans = self.plans
        return served

    def plan(self, root: Path, *arguments: Any, **options: Any) -> PlanSummary:
        self.plans.append((root.name, self.attached))
        if self.attached and self.refuses:
            raise TerraformError(f"plan failed: {self.refuses}", command="plan", diagnostics=[self.refuses])
        return super().plan(root, *arguments, **options)


@contextmanager
def host(program: Path, environment: Mapping[str, str], schema: Schema) -> Iterator[str]:
    del program, environment, schema
    yield "attached"


@contextmanager
def broken_host(program: Path, environment: Mapping[str, str], schema: Schema) -> Iterator[str]:
    del environment, schema
    raise TerraformError(f"{program} did not start")
    yield ""


def make_roots(folder: Path, *names: str) -> dict[str, Path]:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "main.tf").write_text(CODE if name != "bad" else CODE + "}")
    return {name: folder / name for name in names}


def planner(terraform: Attached, folder: Path, **changes: Any) -> Planner:
    made = {"terraform": cast("Terraform", terraform), "ready": None, "plans": folder / "plans", "host": host}
    return Planner(**(made | changes))


def test_each_root_is_told_of_as_it_is_done_and_one_that_fails_keeps_none_back(tmp_path: Path) -> None:
    told: list[Planned] = []
    terraform = Attached(tmp_path)
    done = planner(terraform, tmp_path).plan(make_roots(tmp_path / "build", "a", "bad", "c"), told.append)
    assert [one.root for one in done] == ["a", "bad", "c"]
    assert {one.root for one in told} == {"a", "bad", "c"}
    assert [bool(one.error) for one in done] == [False, True, False]
    assert "Unclosed configuration block" in done[1].error
    assert all(one.raw["resource_changes"] for one in done if not one.error)
    assert set(terraform.plans) == {("a", "attached"), ("bad", "attached"), ("c", "attached")}


@pytest.mark.parametrize(
    "said",
    [
        "Error: Failed to load plugin schemas",
        "no schema available for aws_old.x while reading state; this is a bug in Terraform and should be reported",
        'The provider hashicorp/aws does not support resource type "aws_old".',
        "The plugin crashed: provider crashed",
    ],
)
def test_what_an_attached_provider_does_not_do_is_planned_the_plain_way(tmp_path: Path, said: str) -> None:
    terraform = Attached(tmp_path, refuses=said)
    [done] = planner(terraform, tmp_path).plan(make_roots(tmp_path / "build", "a"), lambda _: None)
    assert not done.error
    assert terraform.plans == [("a", "attached"), ("a", "")]


def test_what_is_wrong_with_the_code_is_not_tried_twice(tmp_path: Path) -> None:
    terraform = Attached(tmp_path, refuses='Unsupported argument: an argument named "buckett" is not expected here')
    [done] = planner(terraform, tmp_path).plan(make_roots(tmp_path / "build", "a"), lambda _: None)
    assert "buckett" in done.error
    assert terraform.plans == [("a", "attached")]


def test_where_no_provider_can_be_attached_all_is_planned_the_plain_way(tmp_path: Path) -> None:
    terraform = Attached(tmp_path)
    done = planner(terraform, tmp_path, host=broken_host).plan(make_roots(tmp_path / "build", "a", "b"), lambda _: None)
    assert not any(one.error for one in done)
    assert {attached for _, attached in terraform.plans} == {""}


def test_a_wish_to_stop_reaches_every_terraform(tmp_path: Path) -> None:
    terraform, stop = Attached(tmp_path), threading.Event()
    terraform.hold("plan")
    stop.set()
    plain = planner(terraform, tmp_path, host=broken_host, memory=OWN_BYTES + 2 * LANE_BYTES)
    done = plain.plan(make_roots(tmp_path / "build", "a", "b"), lambda _: None, stop)
    assert all("stopped as asked" in one.error for one in done)
