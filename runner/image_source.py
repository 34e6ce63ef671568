"""Which machine image a job gets: one that is built here from the recipe, or one that was baked on AWS from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compiler.deployment import CloudKind
from runner.image import Image, build, find, recipe_digest
from runner.image_install import OnProgress
from state.errors import Place, SourceError


class ImageRegistry(Protocol):
    """The two calls of a cloud that images need."""

    def find_image(self, digest: str) -> str | None:
        """Return the AMI that was registered for an image's digest."""
        ...

    def register_image(self, *, name: str, digest: str, architecture: str) -> str:
        """Register an AMI for an image's digest and return its id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """What a job is started from: the AMI, and the digest of the recipe that it is made of."""

    ami: str
    digest: str


class Builder(Protocol):
    """Gives a recipe's machine image in one region."""

    def provide(self, recipe: Path, baked: Mapping[str, str], region: str, on_progress: OnProgress) -> MachineImage:
        """Return the image of a recipe, made if this builder can make it.

        Args:
            recipe: the blueprint's environment folder.
            baked: region → AMI, as the blueprint's `environment.image` says.
            region: where the job will run.
            on_progress: told in one line what is going on.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBuilder:
    """Builds into the image store and registers the digest with the embedded cloud, which mounts the store's folder.

    Attributes:
        store: the image store, the same folder that the embedded cloud was started with.
        registry: the embedded cloud.
    """

    store: Path
    registry: ImageRegistry

    def provide(self, recipe: Path, baked: Mapping[str, str], region: str, on_progress: OnProgress) -> MachineImage:
        """Build the recipe unless the store has it, register it unless the cloud knows it."""
        del baked, region  # this cloud has one region and starts nothing but what the store holds
        digest = recipe_digest(recipe)
        image = find(self.store, digest) or build(recipe, self.store, on_progress)
        return MachineImage(ami=register(self.registry, image), digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedImages:
    """Takes the AMI that the blueprint names for the region: on AWS images are baked outside of a job's life."""

    def provide(self, recipe: Path, baked: Mapping[str, str], region: str, on_progress: OnProgress) -> MachineImage:
        """Return the AMI named for the region.

        Raises:
            SourceError: the blueprint names none.
        """
        del on_progress
        if region not in baked:
            known = f" It has one for {', '.join(sorted(baked))}." if baked else ""
            raise SourceError(
                f"no AMI is named for region {region}.{known}",
                place=Place(file=str(recipe.parent / "blueprint.yaml")),
                field="environment.image",
                way_out=f"Bake one from {recipe} and write `{region}: ami-…` there.",
            )
        return MachineImage(ami=baked[region], digest=recipe_digest(recipe))


def choose_builder(kind: CloudKind, *, store: Path, registry: ImageRegistry) -> Builder:
    """Return the builder that fits where the deployment's jobs run."""
    return BakedImages() if kind is CloudKind.AWS else StoreBuilder(store=store, registry=registry)


def register(registry: ImageRegistry, image: Image) -> str:
    """Return the AMI of an image, registering it when the cloud does not know it.

    Raises:
        CloudError: the cloud refused.
    """
    known = registry.find_image(image.digest)
    return known or registry.register_image(
        name=f"iae-{image.digest[:32]}", digest=image.digest, architecture=image.architecture
    )
