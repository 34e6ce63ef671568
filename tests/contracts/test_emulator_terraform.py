"""Our modules on the embedded cloud: applied by the real Terraform, then nothing is left to change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mayfly.localcloud import LocalCloud
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from tests.mayfly.localcloud.rig import Clients, describe, encode, make_image, policy, printed, started

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud]
MODULES = Path(__file__).parents[2] / "modules"
DEPLOYMENT = "lab-under-test"
VALUES: dict[str, dict[str, Any]] = {
    "base": {
        "deployment": DEPLOYMENT,
        "region": "us-east-1",
        "account": "123456789012",
        "platform_bucket": f"{DEPLOYMENT}-platform",
        "queue": f"{DEPLOYMENT}-events",
        "dead_letter_queue": f"{DEPLOYMENT}-events-dead",
        "rule": f"{DEPLOYMENT}-submissions",
        "runner_role": f"{DEPLOYMENT}-runner",
        "runner_policy": policy(("s3:ListAllMyBuckets", "*")),
        "lifecycle_rules": False,
        "require_tls": False,
        "tags": {"lab": "one"},
    },
    "analysis": {
        "deployment": DEPLOYMENT,
        "analysis": "pca",
        "bucket": f"{DEPLOYMENT}-pca",
        "version_id": "0123456789abcdef",
        "runner_roles": [f"arn:aws:iam::123456789012:role/{DEPLOYMENT}-runner"],
        "cors_origins": ["https://mayfly.example"],
        "lifecycle_rules": False,
        "require_tls": False,
        "tags": {},
    },
    "group": {
        "deployment": DEPLOYMENT,
        "account": "123456789012",
        "group": "lab1",
        "user_role": f"{DEPLOYMENT}-group-lab1",
        "instance_role": f"{DEPLOYMENT}-instance-lab1",
        "user_policies": {"pca": policy(("s3:GetObject", f"arn:aws:s3:::{DEPLOYMENT}-pca/lab1/results/*"))},
        "instance_policies": {"pca": policy(("s3:GetObject", f"arn:aws:s3:::{DEPLOYMENT}-pca/lab1/inputs/*"))},
        "user_managed_policies": {
            f"{DEPLOYMENT}-group-lab1-1": policy(("s3:GetObject", f"arn:aws:s3:::{DEPLOYMENT}-more/lab1/results/*"))
        },
        "tags": {},
    },
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, Clients]]:
    with started(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture(scope="module")
def terraform(cloud: tuple[LocalCloud, Clients], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    toolchain = find_toolchain(tmp_path_factory.mktemp("terraform"), os.environ)
    return Terraform(toolchain, cloud[0].settings.environment())


def make_root(folder: Path, module: str, values: dict[str, Any]) -> Path:
    shutil.copytree(MODULES / module, folder / "module", ignore=shutil.ignore_patterns("tests"))
    arguments = "\n".join(f"  {name} = var.{name}" for name in values)
    variables = "\n".join(f'variable "{name}" {{}}' for name in values)
    provider = 'provider "aws" {\n  max_retries = 2\n}\n'
    call = f'module "it" {{\n  source = "./module"\n{arguments}\n}}\n'
    (folder / "main.tf").write_text(f"{provider}{call}{variables}\n")
    (folder / "values.auto.tfvars.json").write_text(json.dumps(values))
    return folder


def changes(terraform: Terraform, root: Path) -> tuple[int, int, int]:
    summary = terraform.plan(root)
    return summary.add, summary.change, summary.destroy


@pytest.mark.timeout(600)
def test_every_module_applies_and_is_then_in_order(
    cloud: tuple[LocalCloud, Clients], terraform: Terraform, tmp_path: Path
) -> None:
    _, clients = cloud

    def build(module: str) -> tuple[int, int, int]:
        root = make_root(tmp_path / module, module, VALUES[module])
        terraform.prepare(root)
        assert terraform.apply(root).add > 0
        return changes(terraform, root)

    with ThreadPoolExecutor() as threads:  # most of the time the provider waits
        assert list(threads.map(build, VALUES)) == [(0, 0, 0)] * len(VALUES)
    image = make_image(clients, "iae-of-test")
    job = {
        "deployment": DEPLOYMENT,
        "job": "pca-0123456789ab",
        "group": "lab1",
        "analysis": "pca",
        "deadline": "2026-11-23T00:00:00Z",
        "image": image,
        "instance_type": "m5.large",
        "volume_gb": 20,
        "instance_profile": f"{DEPLOYMENT}-instance-lab1",
        "tasks": {
            "0": {"name": "a.npy", "user_data": encode("#!/bin/bash\necho task zero\nsleep 600")},
            "1": {"name": "b.npy", "user_data": encode("#!/bin/bash\necho task one\nshutdown -h now")},
        },
        "tags": {"lab": "one"},
    }
    root = make_root(tmp_path / "job", "job", job)
    terraform.prepare(root)
    assert terraform.apply(root).add == 3
    state = terraform.show(root)["values"]["root_module"]["child_modules"][0]["resources"]
    ids = {r["index"]: r["values"]["id"] for r in state if r["type"] == "aws_instance"}
    printed(clients, ids["0"], "task zero")
    found = describe(clients, ids["0"])
    assert [group["GroupName"] for group in found["SecurityGroups"]] == ["mayfly-pca-0123456789ab"]
    assert found["IamInstanceProfile"]["Arn"].endswith(f"/{DEPLOYMENT}-instance-lab1")
    assert {"Key": "mayfly:task", "Value": "0"} in found["Tags"]
    volume = clients.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [ids["0"]]}])[
        "Volumes"
    ][0]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (20, "gp3", True)
    assert {"Key": "mayfly:job", "Value": "pca-0123456789ab"} in volume["Tags"]
    summary = terraform.plan(root, refresh=True)
    assert (summary.change, summary.destroy) == (0, 0)
    terraform.destroy(root)
    assert describe(clients, ids["0"])["State"]["Name"] == "terminated"
    assert not clients.ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["mayfly:job"]}])["Volumes"]
    groups = clients.ec2.describe_security_groups(Filters=[{"Name": "tag-key", "Values": ["mayfly:job"]}])
    assert not groups["SecurityGroups"]
