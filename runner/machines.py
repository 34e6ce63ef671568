"""Machines for a submission: which it may have, what they may cost at most, and whether they could ever be free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from compiler.blueprint import LARGEST_VOLUME_GB, Blueprint, Choice
from compiler.deployment import CloudKind
from compiler.model import Platform
from runner.capacity import offers
from runner.intake import show
from runner.parameters import DATASET_SIZE, DURATION
from runner.pricing import format_money, hourly_price, work_cost
from state.errors import SubmissionError
from state.job import Hardware, Offer


def check_count(blueprint: Blueprint, count: int) -> None:
    """Refuse more datasets than a job of this analysis may have instances."""
    most = blueprint.limits.instances
    if count > most:
        raise SubmissionError(
            f"The submission has {count} datasets, but a job of {blueprint.id} may use at most {most} instances, one "
            "for each. Split it."
        )


def check_fits(platform: Platform, group: str, machines: int, vcpus: int) -> None:
    """Refuse what would wait for ever: a job that is larger than what may be in use at once.

    Raises:
        SubmissionError: it is.
    """
    limits = platform.deployment.limits
    for whose, most, wanted, unit in (
        ("The platform", limits.instances, machines, "instances"),
        (f"The group {group}", limits.group_instances, machines, "instances"),
        ("The platform", limits.vcpus, vcpus, "vCPUs"),
    ):
        if most is not None and wanted > most:
            raise SubmissionError(
                f"The job needs {wanted} {unit} at once, but {whose[:1].lower()}{whose[1:]} may use at most {most}. "
                "Submit fewer datasets at a time, or ask for a smaller instance_type."
            )


def choose(blueprint: Blueprint, instance_type: str | None) -> Choice:
    """Return the machine a job runs on: the user's if the blueprint lists it, else the blueprint's first."""
    if instance_type is None:
        return blueprint.resources[0]
    for choice in blueprint.resources:
        if choice.instance_type == instance_type:
            return choice
    listed = ", ".join(dict.fromkeys(choice.instance_type for choice in blueprint.resources))
    raise SubmissionError(f"instance_type is {show(instance_type)}, but {blueprint.id} runs only on {listed}.")


def find_ways(
    blueprint: Blueprint, instance_type: str | None, hardware: Hardware, *, home: str, duration_s: int, declared: bool
) -> tuple[Offer, ...]:
    """Return the ways to get a machine in the job's region: those of the user's type, else the blueprint's, best first.

    `home` is the region of choices that name none.
    """
    allowed = [one for one in blueprint.resources if instance_type in {None, one.instance_type}]
    here = [one for one in allowed if (one.region or home) == hardware.region]
    hourly = {one.instance_type: hourly_price(one.instance_type) for one in here}
    return offers(
        [replace(one, region=None) for one in here],
        region=hardware.region,
        hourly=hourly,
        duration_s=duration_s,
        declared=declared,
    )


def check_cost(blueprint: Blueprint, hourly: Decimal, duration_s: int, tasks: int) -> Decimal:
    """Return the most a job's work may cost, USD, unless it is more than the blueprint allows."""
    most = work_cost(hourly=hourly, duration_s=duration_s, tasks=tasks)
    if most > blueprint.limits.cost:
        machines = "1 machine" if tasks == 1 else f"{tasks} machines"
        raise SubmissionError(
            f"The job may cost up to {format_money(most)} ({machines}, {duration_s // 60} minutes at "
            f"{format_money(hourly)} an hour), but a job of {blueprint.id} may cost at most "
            f"{format_money(blueprint.limits.cost)}. Ask for a shorter {DURATION}, or submit fewer datasets."
        )
    return most


def choose_hardware(
    *,
    platform: Platform,
    blueprint: Blueprint,
    choice: Choice,
    extra_gb: int,
    find_image: Callable[[str], str | None],
    digest: Callable[[str], str],
) -> tuple[Hardware, str]:
    """Return the hardware and the digest of its software (empty for an image that was baked elsewhere)."""
    region = choice.region or platform.deployment.region
    volume_gb = choice.volume_gb + extra_gb
    if volume_gb > LARGEST_VOLUME_GB:
        raise SubmissionError(
            f"{DATASET_SIZE} is {extra_gb}, but with the {choice.volume_gb} GB of the image no volume may have more "
            f"than {LARGEST_VOLUME_GB} GB."
        )
    on_aws = platform.deployment.cloud is CloudKind.AWS
    iae, image = "", blueprint.environment.image.get(region) if on_aws else None
    if image is None:
        iae = digest(blueprint.id)
        image = find_image(iae)
    if image is None:
        raise SubmissionError(
            f"The software of {blueprint.id} has not been built for {region} yet. Nothing is wrong with your "
            f"submission: ask the operators to run `mayfly iae build {blueprint.id}`, then submit again."
        )
    hardware = Hardware(
        instance_type=choice.instance_type,
        region=region,
        image=image,
        volume_gb=volume_gb,
        hourly_price=hourly_price(choice.instance_type),
        volume_type=choice.volume_type,
        volume_iops=choice.iops,
        volume_throughput=choice.throughput,
    )
    return hardware, iae
