"""What was applied and is described no more, as the states on AWS or the tree generated last tell it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.model import Platform, Retired
from compiler.platform import render_platform
from compiler.tree import write_tree
from runner.retired import find_retired
from state.backend import S3Backend
from state.errors import StateError
from tests.compiler.projects import MINIMAL, Project, small_project
from tests.fakes.cloud import FakeCloud

STATES = S3Backend(bucket="states", region="us-east-1")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = small_project(tmp_path / "project")
    made.add_blueprint("going", MINIMAL.replace("tiny", "going") + "purge: true\n")
    made.add_blueprint("staying", MINIMAL.replace("tiny", "staying"))
    return made


def without(project: Project, *names: str) -> Platform:
    platform = load_platform(project.folder)
    kept = {name: one for name, one in platform.blueprints.items() if name not in names}
    return replace(platform, blueprints=kept)


def state(*, purge: bool | None) -> bytes:
    bucket = {"mode": "managed", "type": "aws_s3_bucket", "instances": [{"attributes": {"force_destroy": purge}}]}
    return json.dumps({"version": 4, "resources": [] if purge is None else [bucket]}).encode()


def test_the_states_on_aws_are_asked(project: Project, tmp_path: Path) -> None:
    cloud = FakeCloud()
    cloud.make_bucket("states")
    for root, content in {
        "base": state(purge=False),
        "analyses/tiny": state(purge=True),
        "analyses/going": state(purge=True),
        "analyses/staying": state(purge=False),
        "analyses/over": state(purge=None),
        "groups/left": b'{"resources": [{"mode": "managed", "type": "aws_iam_role", "instances": [{}]}]}',
        "jobs/pca-1": state(purge=False),
    }.items():
        cloud.write("states", f"{root}.tfstate", content)
    cloud.write("states", "analyses/staying.tfstate.tflock", b"{}")
    found = find_retired(without(project, "going", "staying"), STATES, build=tmp_path, cloud=cloud)
    assert found == (
        Retired(root="analyses/going", purge=True),
        Retired(root="analyses/staying", purge=False),
        Retired(root="groups/left", purge=False),
    )
    cloud.write("states", "analyses/over.tfstate", b'{"resources": 7}')
    with pytest.raises(StateError, match=r"s3://states/analyses/over\.tfstate is no Terraform state"):
        find_retired(without(project), STATES, build=tmp_path, cloud=cloud)


def test_without_aws_the_tree_generated_last_is_asked_however_often(project: Project, tmp_path: Path) -> None:
    build = tmp_path / "build"
    write_tree(build, render_platform(load_platform(project.folder)))
    for _ in range(3):
        now = without(project, "going", "staying")
        found = find_retired(now, STATES, build=build)
        assert found == (Retired(root="analyses/going", purge=True), Retired(root="analyses/staying", purge=False))
        write_tree(build, render_platform(replace(now, retired=found)))
    write_tree(build, render_platform(load_platform(project.folder)))
    assert find_retired(load_platform(project.folder), STATES, build=build) == ()
