"""atlantis.yaml names each root with the files that decide it; the embedded cloud has none."""

from __future__ import annotations

from typing import Any

import yaml

from compiler.load import load_platform
from compiler.platform import render_platform, roots
from tests.compiler.projects import Project

AWS = 'name: demo\naccount: "123456789012"\nregion: eu-central-1\ncloud: aws\nstate: {bucket: the-states}\n'


def rendered(example: Project) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(render_platform(load_platform(example.folder))["atlantis.yaml"])
    return loaded


def test_every_root_is_a_project(example: Project) -> None:
    example.write("mayfly.yaml", AWS)
    image = "  image: {eu-central-1: ami-0123456789abcdef0}\n"
    text = (example.folder / "blueprints/pca/blueprint.yaml").read_text()
    example.write(
        "blueprints/pca/blueprint.yaml", text.replace("  entry_point: run.py\n", f"  entry_point: run.py\n{image}")
    )
    said = rendered(example)
    assert said["version"] == 3
    projects = {one["name"]: one for one in said["projects"]}
    assert list(projects) == list(roots(load_platform(example.folder)))
    pca = projects["analyses/pca"]
    assert pca["dir"] == "build/analyses/pca"
    assert pca["autoplan"]["when_modified"] == [
        "../../../mayfly.yaml",
        "../../../modules/**",
        "../../../blueprints/pca/**",
    ]
    assert "../../../users/lab1.yaml" in projects["groups/lab1"]["autoplan"]["when_modified"]
    assert (projects["base"]["execution_order_group"], pca["execution_order_group"]) == (0, 1)
    (init,) = (step["run"] for step in said["workflows"]["mayfly"]["plan"]["steps"] if isinstance(step, dict))
    assert "-backend-config=bucket=the-states" in init
    assert '"-backend-config=key=$PROJECT_NAME.tfstate"' in init


def test_the_embedded_cloud_has_none(example: Project) -> None:
    assert "atlantis.yaml" not in render_platform(load_platform(example.folder))
