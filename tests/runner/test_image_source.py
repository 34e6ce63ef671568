from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from compiler.deployment import CloudKind
from runner.image import Image, recipe_digest
from runner.image_source import BakedImages, MachineImage, StoreBuilder, choose_builder, register
from state.errors import SourceError


@dataclass
class Registry:
    """What a cloud knows about images."""

    known: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def find_image(self, digest: str) -> str | None:
        return self.known.get(digest)

    def register_image(self, *, name: str, digest: str, architecture: str) -> str:
        self.asked.append(f"{name} {architecture}")
        self.known[digest] = f"ami-{len(self.known)}"
        return self.known[digest]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "pca" / "environment"
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_text("")
    (folder / "run.py").write_text("")
    return folder


def test_an_image_is_registered_once(tmp_path: Path) -> None:
    registry = Registry()
    image = Image(digest="ab" * 32, path=tmp_path, architecture="arm64", python="3.11.7")
    assert register(registry, image) == register(registry, image) == "ami-0"
    assert registry.asked == [f"iae-{'ab' * 16} arm64"]


def test_the_embedded_cloud_gets_what_the_store_has(recipe: Path, tmp_path: Path) -> None:
    registry = Registry()
    builder = choose_builder(CloudKind.EMBEDDED, store=tmp_path / "images", registry=registry)
    assert isinstance(builder, StoreBuilder)
    told: list[str] = []
    first = builder.provide(recipe, {"eu-central-1": "ami-other"}, "eu-central-1", told.append)
    assert first == MachineImage(ami="ami-0", digest=recipe_digest(recipe))
    assert (tmp_path / "images" / first.digest / "manifest.json").exists()
    assert told
    told.clear()
    assert builder.provide(recipe, {}, "us-east-1", told.append) == first
    assert told == []


def test_aws_gets_what_was_baked(recipe: Path, tmp_path: Path) -> None:
    builder = choose_builder(CloudKind.AWS, store=tmp_path, registry=Registry())
    assert isinstance(builder, BakedImages)
    found = builder.provide(recipe, {"eu-central-1": "ami-42"}, "eu-central-1", lambda _: None)
    assert found == MachineImage(ami="ami-42", digest=recipe_digest(recipe))
    with pytest.raises(SourceError, match=r"no AMI is named for region us-east-1\. It has one for eu-central-1"):
        builder.provide(recipe, {"eu-central-1": "ami-42"}, "us-east-1", lambda _: None)
