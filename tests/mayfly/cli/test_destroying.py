"""`mayfly destroy` on a platform that is there: real Terraform, and the real command line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.context import Context
from mayfly.cli.open import start_cloud
from tests.compiler.projects import Project, small_project
from tests.mayfly.localcloud.rig import Clients

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud, pytest.mark.timeout(600)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def clients(project: Project) -> Iterator[Clients]:
    """Run the project's own cloud for as long as the test lasts; the commands find it."""
    context = Context(project_option=project.folder)
    with context.home.locked(), start_cloud(context, context.platform()) as cloud:
        yield Clients(cloud.settings)


def mayfly(project: Project, *arguments: str) -> str:
    """Run a command that must succeed; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "mayfly.cli.main", *arguments],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def left(clients: Clients) -> dict[str, list[str]]:
    """Return what the cloud itself says is there, by kind."""
    return {
        "buckets": sorted(one["Name"] for one in clients.s3.list_buckets()["Buckets"]),
        "roles": sorted(one["RoleName"] for one in clients.iam.list_roles()["Roles"]),
        "queues": clients.sqs.list_queues().get("QueueUrls", []),
        "rules": [one["Name"] for one in clients.events.list_rules()["Rules"]],
    }


def test_data_stays_until_somebody_asks_for_it_to_go(project: Project, clients: Clients) -> None:
    before = left(clients)
    mayfly(project, "apply")
    made = left(clients)
    assert len(made["queues"]) == 2
    assert {"demo-platform", "demo-tiny"} <= set(made["buckets"])
    assert {"demo-runner", "demo-group-lab1", "demo-instance-lab1"} <= set(made["roles"])
    for bucket in ("demo-platform", "demo-tiny"):
        clients.s3.put_object(Bucket=bucket, Key="lab1/results/r", Body=b"one")
        clients.s3.put_object(Bucket=bucket, Key="lab1/results/r", Body=b"two")  # and an earlier version

    said = mayfly(project, "destroy", "--confirm", "demo")
    assert said.endswith("Kept: analyses/tiny.\n")
    assert left(clients) == {**before, "buckets": ["demo-tiny"]}
    versions = clients.s3.list_object_versions(Bucket="demo-tiny")["Versions"]
    assert [one["Key"] for one in versions] == ["lab1/results/r"] * 2
    assert clients.s3.get_object(Bucket="demo-tiny", Key="lab1/results/r")["Body"].read() == b"two"

    said = mayfly(project, "destroy", "analyses/tiny", "--data", "--confirm", "demo and all data")
    assert re.match(r"analyses/tiny: [1-9]\d* destroyed", said)
    assert left(clients) == before
