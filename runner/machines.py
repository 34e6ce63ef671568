"""Machines for a submission: which it may have, what they may cost at most, and whether they could ever be free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from compiler.blueprint import LARGEST_VOLUME_GB, Blueprint, Choice
from compiler.catalogue import instance
from compiler.deployment import CloudKind, Deployment
from compiler.model import Platform
from compiler.prices import quote, say_estimate
from runner.capacity import offers
from runner.intake import show
from runner.parameters import DATASET_SIZE, DURATION
from runner.pricing import format_money, hourly_price, work_cost
from state.errors import SubmissionError
from state.job import Hardware, Offer
from state.vcpus import Need, Quota, most_of


def check_count(blueprint: Blueprint, count: int) -> None:
    """Refuse more datasets than a job of this analysis may have instances."""
    most = blueprint.limits.instances
    if count > most:
        raise SubmissionError(
            f"The submission has {count} datasets, but a job of {blueprint.id} may use at most {most} instances, one "
            "for each. Split it."
        )


def check_fits(platform: Platform, group: str, *, machines: int, vcpus: int, region: str) -> None:
    """Refuse what would wait for ever: a job that is larger than what may be in use at once.

    Raises:
        SubmissionError: it is.
    """
    limits = platform.deployment.limits
    for whose, most, wanted, unit in (
        ("The platform", limits.instances, machines, "instances"),
        (f"The group {group}", limits.group_instances, machines, "instances"),
        ("The platform", most_of(limits.vcpus, Quota(region=region)), vcpus, "vCPUs"),
    ):
        if most is not None and wanted > most:
            raise SubmissionError(
                f"The job needs {wanted} {unit} at once, but {whose[:1].lower()}{whose[1:]} may use at most {most}. "
                "Submit fewer datasets at a time, or ask for a smaller instance_type."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """On what a job may run.

    Attributes:
        choice: the row of the resource bank that its hardware is made of.
        ways: the ways to get a machine, best first; all in the region of the choice.
        needs: what a machine of each way takes of the vCPU quotas.
        notes: what the user should know of machines that are left out, or whose price is estimated; sentences.
    """

    choice: Choice
    ways: tuple[Offer, ...]
    needs: tuple[Need, ...]
    notes: tuple[str, ...]


def list_choices(blueprint: Blueprint, instance_type: str | None) -> tuple[Choice, ...]:
    """Return the machines that a job may run on: those of the type that the user wants, else all of the blueprint.

    Raises:
        SubmissionError: the blueprint does not list that type.
    """
    allowed = tuple(one for one in blueprint.resources if instance_type in {None, one.instance_type})
    if allowed:
        return allowed
    listed = ", ".join(dict.fromkeys(choice.instance_type for choice in blueprint.resources))
    raise SubmissionError(f"instance_type is {show(instance_type)}, but {blueprint.id} runs only on {listed}.")


def select_ways(
    deployment: Deployment, allowed: Sequence[Choice], *, tasks: int, duration_s: int, declared: bool
) -> Selection:
    """Return the ways to get machines for a job that its vCPU quotas have room for, all in one region, best first.

    A way is left out when the quota could not hold the whole job: while its machines are got, a job counts with all its
    tasks against each quota that they may take from.

    Args:
        deployment: with its quotas and prices.
        allowed: rows of the resource bank.
        tasks: how many machines the job needs.
        duration_s: the most a task may run.
        declared: whether the user said how long.

    Raises:
        SubmissionError: no quota holds the job; it would wait for ever.
    """
    too_small: dict[str, int] = {}
    for region in dict.fromkeys(one.region or deployment.region for one in allowed):
        there = [one for one in allowed if (one.region or deployment.region) == region]
        here = [replace(one, region=None) for one in there]
        hourly = {one.instance_type: hourly_price(deployment, one.instance_type, region) for one in here}
        found = offers(here, region=region, hourly=hourly, duration_s=duration_s, declared=declared)
        fit: list[tuple[Offer, Need]] = []
        for way in found:
            need = need_of(way)
            most = most_of(deployment.limits.vcpus, need.of(region))
            if most is None or tasks * need.vcpus <= most:
                fit.append((way, need))
            else:
                words = (
                    f"{way.instance_type}, {tasks * need.vcpus} vCPUs of {need.of(region)}, of which {most} are there"
                )
                too_small[words] = most // need.vcpus
        if fit:
            ways, needs = zip(*fit, strict=True)
            choice = next(one for one in there if one.instance_type == ways[0].instance_type)
            notes = [
                f"Not tried, because the job would need more than the platform may use: {one}." for one in too_small
            ]
            notes += _estimates(deployment, ways, region)
            return Selection(choice=choice, ways=ways, needs=needs, notes=tuple(notes))
    fewer = max(too_small.values())
    datasets = "1 dataset" if fewer == 1 else f"{fewer} datasets"
    way_out = f"Submit at most {datasets} at a time, or have" if fewer else "Have"
    raise SubmissionError(
        f"The job would need more at once than the platform may use: {'; '.join(too_small)}. {way_out} limits.vcpus of "
        "mayfly.yaml raised."
    )


def need_of(way: Offer) -> Need:
    """Return what one machine takes of the vCPU quotas."""
    machine = instance(way.instance_type)
    return Need(family=machine.counts_with, spot=way.spot, vcpus=machine.vcpu)


def _estimates(deployment: Deployment, ways: Iterable[Offer], region: str) -> Iterator[str]:
    """Yield which prices are estimates; whoever pays is told."""
    for name in dict.fromkeys(way.instance_type for way in ways):
        found = quote(deployment, name, region)
        if found is not None and found.is_estimated:
            said = say_estimate(name, region, found)
            yield f"{said[:1].upper()}{said[1:]}. What the job costs is reckoned with it, and probably less."


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
        hourly_price=hourly_price(platform.deployment, choice.instance_type, region),
        volume_type=choice.volume_type,
        volume_iops=choice.iops,
        volume_throughput=choice.throughput,
    )
    return hardware, iae
