"""The resource bank against `limits.vcpus`: a machine that is larger than its quota is never to be had."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

from compiler.blueprint import Blueprint, Choice, Price, Stage
from compiler.catalogue import instances
from compiler.deployment import Deployment
from compiler.findings import Sources
from state.errors import SourceError
from state.vcpus import Quota, most_of


def check_quotas(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield that none of a blueprint's machines fits into its quota: no job of it could ever start."""
    deployment = sources.platform.deployment
    found = [_excesses(deployment, choice) for choice in blueprint.resources]
    if blueprint.stage is not Stage.DRAFT and all(starmap(_is_shut_out, zip(blueprint.resources, found, strict=True))):
        said = "; ".join(dict.fromkeys(words for each in found for words in each.values()))
        way_out = "Raise limits.vcpus of mayfly.yaml as far as AWS's quotas go, or add a machine that fits."
        message = f"no machine fits into limits.vcpus: {said}."
        yield sources.error(blueprint.place, message, ("resources",), way_out=way_out, rule="limits")


def warn_about_quotas(sources: Sources, blueprint: Blueprint) -> Iterator[SourceError]:
    """Yield which choices no job will ever get, as long as it gets another."""
    if blueprint.stage is Stage.DRAFT:
        return
    deployment = sources.platform.deployment
    found = [_excesses(deployment, choice) for choice in blueprint.resources]
    if all(starmap(_is_shut_out, zip(blueprint.resources, found, strict=True))):
        return  # that is an error, and told as one
    for number, excesses in enumerate(found):
        for spot, words in excesses.items():
            field = "price" if spot else "instance_type"
            way_out = "Raise limits.vcpus of mayfly.yaml as far as AWS's quota goes, or remove this choice."
            message = f"is never tried: {words}."
            yield sources.error(blueprint.place, message, ("resources", number, field), way_out=way_out, rule="limits")


def _is_shut_out(choice: Choice, excesses: dict[bool, str]) -> bool:
    """Whether no way of a choice fits; one at the Save price may also be got on demand."""
    return len(excesses) == (2 if choice.price is Price.SAVE else 1)


def _excesses(deployment: Deployment, choice: Choice) -> dict[bool, str]:
    """Return, by whether it is spot capacity, what a machine has more than its quota or its region gives."""
    machine, found = instances().get(choice.instance_type), {}
    if machine is None:
        return {}
    region = choice.region or deployment.region
    for spot in (True, False) if choice.price is Price.SAVE else (False,):
        for quota in (Quota(region=region), Quota(region=region, family=machine.counts_with, spot=spot)):
            most = most_of(deployment.limits.vcpus, quota)
            if most is not None and machine.vcpu > most:
                found[spot] = f"{machine.name} has {machine.vcpu} vCPUs, and {quota} gives {most}"
    return found
