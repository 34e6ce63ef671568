"""The resource bank against what EC2 has: machines, their prices and places, and the limits of their volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from compiler.blueprint import LARGEST_VOLUME_GB, Blueprint, Choice, Stage, VolumeType
from compiler.catalogue import instances, regions
from compiler.check_quota import check_quotas, warn_about_quotas
from compiler.deployment import CloudKind, Deployment
from compiler.findings import Sources
from compiler.prices import quote, say_estimate, way_to_price
from compiler.shape import suggest
from state.errors import SourceError

BASE_IOPS: Final = 3000
"""I/O operations per second that every gp3 volume has."""
MIB_PER_IOPS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLimits:
    """What EBS allows for one type, from its documentation (November 2026).

    Attributes:
        least_gb: the smallest volume; the largest is LARGEST_VOLUME_GB for all.
        least_iops: the least one may ask for; None where one may not ask.
        most_iops: the most.
        ratio: operations per second for each GB.
        needs_iops: whether one must say how many.
    """

    least_gb: int = 1
    least_iops: int | None = None
    most_iops: int = 0
    ratio: int = 0
    needs_iops: bool = False


VOLUMES: Final = {
    VolumeType.GP2: VolumeLimits(),
    VolumeType.GP3: VolumeLimits(least_iops=BASE_IOPS, most_iops=80_000, ratio=500),
    VolumeType.IO1: VolumeLimits(least_gb=4, least_iops=100, most_iops=64_000, ratio=50, needs_iops=True),
    VolumeType.IO2: VolumeLimits(least_gb=4, least_iops=100, most_iops=256_000, ratio=1000, needs_iops=True),
}


def check_machines(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield what is wrong with each choice of a resource bank."""
    deployment = sources.platform.deployment
    for number, choice in enumerate(blueprint.resources):
        problems = (
            *_check_type(choice, blueprint, deployment),
            *_check_price(choice, deployment),
            *_check_place(choice, deployment),
            *_check_volume(choice),
        )
        for problem in problems:
            yield sources.error(
                blueprint.place,
                problem.message,
                ("resources", number, *problem.path),
                way_out=problem.way_out,
                rule=problem.rule,
            )
        first = blueprint.resources.index(choice)
        if first < number:
            message = f"is the same machine as resources[{first}]."
            yield sources.error(
                blueprint.place, message, ("resources", number), way_out="Keep one.", rule="machine-twice"
            )
    yield from check_quotas(sources, blueprint)


def warn_about_machines(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield what works today and may not tomorrow, or costs more than it seems."""
    deployment = sources.platform.deployment
    home = deployment.region
    for number, choice in enumerate(blueprint.resources):
        machine = instances().get(choice.instance_type)
        found, place = quote(deployment, choice.instance_type, choice.region), choice.region or home
        if machine and found and found.is_estimated:
            yield sources.error(
                blueprint.place,
                f"{say_estimate(machine.name, place, found)}.",
                ("resources", number, "region" if choice.region else "instance_type"),
                way_out=f"Say the real one: {way_to_price(machine.name, place)}.",
                rule="machine-price",
            )
        if machine and machine.successor:
            message = f"{machine.name} is retired or retiring."
            yield sources.error(
                blueprint.place,
                message,
                ("resources", number, "instance_type"),
                way_out=f"Its successor is {machine.successor}.",
                rule="machine-retired",
            )
        if choice.region not in (None, home):
            message = f"the machine is in {choice.region}, the data in {home}: each transfer is paid for and slow."
            yield sources.error(
                blueprint.place,
                message,
                ("resources", number, "region"),
                way_out=f"Leave it out for a machine in {home}, unless only {choice.region} has it.",
                rule="machine-place",
            )
    yield from warn_about_quotas(sources, blueprint)
    yield from _warn_about_images(sources, blueprint)


def _warn_about_images(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """On AWS a machine starts from an image of its own region; the embedded cloud builds images itself."""
    deployment, image = sources.platform.deployment, blueprint.environment.image
    if deployment.cloud is not CloudKind.AWS or blueprint.stage is Stage.DRAFT:
        return
    for region in sorted({choice.region or deployment.region for choice in blueprint.resources} - image.keys()):
        message = f"names no image for {region}, where its machines are: no job can start there."
        way_out = "Bake one and name it, or keep the blueprint a draft."
        yield sources.error(blueprint.place, message, ("environment", "image"), way_out=way_out, rule="image")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """What is wrong with a choice: `path` leads to the field."""

    rule: str
    path: tuple[str | int, ...]
    message: str
    way_out: str


def _check_type(choice: Choice, blueprint: Blueprint, deployment: Deployment) -> Iterator[_Problem]:
    name, path = choice.instance_type, ("instance_type",)
    machine = instances().get(name)
    if machine is None:
        message = f"{name!r} is not an instance type of the catalogue."
        way_out = suggest(name, instances(), say_all=False) or "Name one, such as m5.large."
        yield _Problem(rule="machine", path=path, message=message, way_out=way_out)
        return
    architecture = blueprint.environment.architecture
    if machine.architecture != architecture:
        message = f"{name} is {machine.architecture}, and the image is {architecture}."
        way_out = "Choose another machine, or set environment.architecture and build for it."
        yield _Problem(rule="machine-architecture", path=path, message=message, way_out=way_out)
    if choice.gpus is not None and machine.gpus < choice.gpus:
        has = f"{machine.gpus} of them" if machine.gpus else "none"
        counted = "1 GPU is" if choice.gpus == 1 else f"{choice.gpus} GPUs are"
        message = f"{counted} counted on, and {name} has {has}."
        yield _Problem(
            rule="machine-gpus", path=("gpus",), message=message, way_out=_suggest_gpus(choice, blueprint, deployment)
        )


def _suggest_gpus(choice: Choice, blueprint: Blueprint, deployment: Deployment) -> str:
    """Return the cheapest machine that has the GPUs and the architecture."""
    fit = [
        (price.hourly_usd, one.name)
        for one in instances().values()
        if one.gpus >= (choice.gpus or 0)
        and one.architecture == blueprint.environment.architecture
        and one.successor is None
        and (price := quote(deployment, one.name, choice.region))
    ]
    return f"The cheapest that has is {min(fit)[1]}." if fit else "No machine of the catalogue has."


def _check_price(choice: Choice, deployment: Deployment) -> Iterator[_Problem]:
    """Hold every machine to have a price: only what has one can be bounded, so only that can run."""
    name, region = choice.instance_type, choice.region or deployment.region
    if name in instances() and quote(deployment, name, region) is None:
        message = f"no price of {name!r} is known, so no cost can be bounded."
        way_out = f"Use another machine, or say {way_to_price(name, region)}."
        yield _Problem(rule="machine-price", path=("instance_type",), message=message, way_out=way_out)


def _check_place(choice: Choice, deployment: Deployment) -> Iterator[_Problem]:
    name = choice.region or deployment.region
    region = regions().get(name)
    if region is None:
        if choice.region is not None:
            yield _Problem(
                rule="region",
                path=("region",),
                message=f"there is no region {name!r}.",
                way_out=suggest(name, regions(), say_all=False) or "Name one, such as us-east-1.",
            )
        return
    machine = instances().get(choice.instance_type)
    if machine and machine.successor is None and region.families and machine.family not in region.families:
        way_out = "Choose another machine or region. If AWS has it by now, `.ci/catalogue.py` refreshes the table."
        message = f"{machine.family} machines are not offered in {name}."
        yield _Problem(rule="machine-place", path=("instance_type",), message=message, way_out=way_out)
    for number, zone in enumerate(choice.zones):
        if zone not in region.zones:
            message = f"{zone!r} is not a zone of {name}: it has {', '.join(sorted(region.zones))}."
            yield _Problem(
                rule="machine-place", path=("zones", number), message=message, way_out="Name one of these, or no zones."
            )


def _check_volume(choice: Choice) -> Iterator[_Problem]:
    kind, limits = choice.volume_type, VOLUMES[choice.volume_type]
    if choice.volume_gb < limits.least_gb:
        message = f"a {kind} volume has {limits.least_gb} to {LARGEST_VOLUME_GB} GB, not {choice.volume_gb}."
        way_out = "Choose a size between these, or another volume_type."
        yield _Problem(rule="volume", path=("volume_gb",), message=message, way_out=way_out)
    yield from _check_iops(choice, limits)
    if choice.throughput is None:
        return
    if kind is not VolumeType.GP3:
        message = f"the throughput of a {kind} volume cannot be chosen."
        yield _Problem(rule="volume", path=("throughput",), message=message, way_out="Remove it, or use gp3.")
    elif choice.throughput > (most := int(max(choice.iops or 0, BASE_IOPS) * MIB_PER_IOPS)):
        needed = choice.throughput * 4
        message = f"{choice.throughput} MiB/s are more than {choice.iops or BASE_IOPS} iops carry, {most}."
        yield _Problem(
            rule="volume", path=("throughput",), message=message, way_out=f"Raise iops to at least {needed}."
        )


def _check_iops(choice: Choice, limits: VolumeLimits) -> Iterator[_Problem]:
    kind, iops, path = choice.volume_type, choice.iops, ("iops",)
    if iops is None:
        if limits.needs_iops:
            message = f"is missing: a {kind} volume is bought by its iops."
            way_out = f"Say how many, {limits.least_iops} to {limits.most_iops}."
            yield _Problem(rule="volume", path=path, message=message, way_out=way_out)
    elif limits.least_iops is None:
        message = f"the iops of a {kind} volume cannot be chosen."
        yield _Problem(rule="volume", path=path, message=message, way_out="Remove them, or use gp3.")
    elif not limits.least_iops <= iops <= limits.most_iops:
        message = f"a {kind} volume has {limits.least_iops} to {limits.most_iops} iops, not {iops}."
        way_out = "Choose a number between these" + ("." if limits.needs_iops else ", or leave it out.")
        yield _Problem(rule="volume", path=path, message=message, way_out=way_out)
    elif iops > (most := max(choice.volume_gb * limits.ratio, BASE_IOPS if kind is VolumeType.GP3 else 0)):
        message = f"a {kind} volume of {choice.volume_gb} GB has at most {most} iops, {limits.ratio} for each GB."
        yield _Problem(rule="volume", path=path, message=message, way_out="Use a larger volume, or ask for fewer.")
