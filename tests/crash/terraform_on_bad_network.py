"""Terraform on a bad network. Not collected by `make test`, for it takes two minutes; `make soak` runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from runner.capacity import Shortage, read_shortage
from runner.cloud import AwsCloud, CloudSettings
from runner.reaper import sweep
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from state.errors import TerraformError
from tests.crash.fault_proxy import Fault, FaultProxy
from tests.fakes.moto_cloud import moto_server

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.terraform]
MAIN = """
provider "aws" {
  max_retries = 2
}
resource "aws_instance" "task" {
  ami           = "ami-12c6146b"
  instance_type = "t3.small"
  tags = {
    "mayfly:deployment" = "net"
    "mayfly:job"        = "j1"
    "mayfly:task"       = "0"
  }
}
"""


@pytest.fixture(scope="module")
def moto() -> Iterator[CloudSettings]:
    with moto_server() as settings:
        yield settings


@pytest.fixture
def network(moto: CloudSettings) -> Iterator[FaultProxy]:
    with closing(FaultProxy(str(moto.endpoint))) as proxy:
        yield proxy


@pytest.mark.timeout(400)
def test_terraform_on_a_bad_network_leaves_nothing_behind(
    moto: CloudSettings, network: FaultProxy, tmp_path: Path
) -> None:
    bad = replace(moto, endpoint=network.endpoint)
    root, ours = tmp_path / "root", AwsCloud(moto)
    root.mkdir()
    (root / "main.tf").write_text(MAIN)
    terraform = Terraform(find_toolchain(tmp_path / "terraform", os.environ), bad.environment())
    terraform.prepare(root)

    network.expect(Fault.CAPACITY, "RunInstances", times=9)
    with pytest.raises(TerraformError) as caught:
        terraform.apply(root)
    assert read_shortage(caught.value.diagnostics) is Shortage.CAPACITY
    network.plan.clear()

    network.expect(Fault.THROTTLE, "RunInstances")
    network.expect(Fault.ERROR, "DescribeInstances")
    assert terraform.apply(root).add == 1
    known = {json.loads(terraform.pull_state(root))["resources"][0]["instances"][0]["attributes"]["id"]}
    network.expect(Fault.TRUNCATED, "DescribeInstances")
    assert terraform.plan(root).is_empty
    network.expect(Fault.RESET, "DescribeInstances")
    network.expect(Fault.LOST_ANSWER, "TerminateInstances")
    assert terraform.destroy(root).destroy == 1
    faults = {kind for kind, _ in network.happened}
    assert faults == {Fault.CAPACITY, Fault.THROTTLE, Fault.ERROR, Fault.RESET, Fault.LOST_ANSWER, Fault.TRUNCATED}

    network.expect(Fault.LOST_ANSWER, "RunInstances", times=9)  # a machine is made, and Terraform never hears of it
    with pytest.raises(TerraformError):
        terraform.apply(root)
    network.plan.clear()
    strays = [one.id for one in ours.instances(deployment="net", job="j1") if not one.is_gone]
    assert strays
    assert not known & set(strays)
    sweep(ours, deployment="net", job="j1", wait=lambda _: None)
    assert ours.leftovers(deployment="net", job="j1") == []
