"""Real Terraform, attached to a provider that describes less than it can: what is missing is planned the plain way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runner.review.planning import Planner
from runner.review.secretless import OVERRIDE, secretless_terraform
from runner.slots import Slots
from runner.terraform import Terraform
from runner.toolchain import find_toolchain

pytestmark = [pytest.mark.slow, pytest.mark.terraform]
QUEUE = {"resource": {"aws_sqs_queue": {"jobs": {"name": "jobs"}}}}
"""In Terraform's JSON, which the search for kinds does not read: the queue's description is left out."""
TOPIC = 'resource "aws_sns_topic" "news" {\n  name = "news"\n}\n'


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    folder = tmp_path_factory.mktemp("terraform")
    return secretless_terraform(find_toolchain(folder, os.environ), "us-east-1", Slots(folder / "slots", 3))


def roots(folder: Path) -> dict[str, Path]:
    made = {name: folder / name for name in ("known", "unknown")}
    for root in made.values():
        root.mkdir()
        (root / "provider.tf").write_text(OVERRIDE)
    (made["known"] / "main.tf").write_text(TOPIC)
    (made["unknown"] / "main.tf.json").write_text(json.dumps(QUEUE))
    return made


def test_plans_are_the_same_whether_all_of_a_kind_is_described_or_nothing(terraform: Terraform, tmp_path: Path) -> None:
    planner = Planner(terraform=terraform, ready=None, plans=tmp_path / "plans", refresh=False)
    done = {one.root: one for one in planner.plan(roots(tmp_path), lambda _: None)}
    assert {root: one.error for root, one in done.items()} == {"known": "", "unknown": ""}
    planned = {one["address"] for each in done.values() for one in each.raw["resource_changes"]}
    assert planned == {"aws_sns_topic.news", "aws_sqs_queue.jobs"}
    assert list((terraform.cache / "schemas").iterdir())
    root, plain = tmp_path / "known", tmp_path / "plain"
    terraform.plan(root, out=plain, refresh=False)
    assert done["known"].raw["resource_changes"] == terraform.show(root, plain)["resource_changes"]
