"""Makes values of documents that satisfy their schemas: defaults filled in, units made plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from typing import Any, TypeVar

from compiler.blueprint import (
    DEFAULT_DURATION,
    DEFAULT_MAX_DURATION,
    GB,
    MB,
    MINUTE,
    Access,
    Architecture,
    ArchiveClass,
    Blueprint,
    Chain,
    Choice,
    Ensemble,
    Environment,
    Fallback,
    Inputs,
    Interruption,
    Limits,
    Link,
    OnFailure,
    Output,
    Price,
    Protocol,
    Retention,
    Stage,
    Step,
    VolumeType,
)
from compiler.deployment import CloudKind, Deployment, Mail, Network, PlatformLimits, StateStore
from compiler.parameters import complete_schema
from compiler.profile import (
    Budget,
    CredentialKind,
    Credentials,
    Group,
    Member,
    Notify,
    Period,
    Role,
    Storage,
)
from compiler.source import Document
from state.errors import Place
from state.vcpus import Family, RegionQuotas

T = TypeVar("T")
Convert = Callable[[Any], Any]


def fill(cls: type[T], data: dict[str, Any], **convert: Convert) -> T:
    """Make a value of the keys that a file gives; the others keep the defaults of the class."""
    known = {}
    for field in fields(cls):  # type: ignore[arg-type]
        key = field.metadata.get("yaml", field.name)
        if key in data:
            known[field.name] = convert[field.name](data[key]) if field.name in convert else data[key]
    return cls(**known)


def make_deployment(document: Document) -> Deployment:
    """Make the deployment of a document that satisfies its schema."""
    return fill(
        Deployment,
        {**document.data, "place": Place(file=document.file)},
        cloud=CloudKind,
        limits=lambda d: fill(PlatformLimits, d, vcpus=_make_vcpus),
        network=lambda d: fill(Network, d, subnets=tuple),
        state=lambda d: fill(StateStore, d),
        mail=lambda d: fill(Mail, d),
        runner_trust=tuple,
        cors_origins=tuple,
        prices=lambda d: {region: {name: _decimal(usd) for name, usd in row.items()} for region, row in d.items()},
    )


def _make_vcpus(data: int | dict[str, Any]) -> int | dict[str, RegionQuotas]:
    return data if isinstance(data, int) else {region: _make_quotas(given) for region, given in data.items()}


def _make_quotas(data: int | dict[str, Any]) -> RegionQuotas:
    """Make a region's quotas: one figure for all families, or a figure for some of them."""
    if isinstance(data, int):
        return RegionQuotas(total=data)
    markets = [{key: most for key, most in rows.items() if key != "spot"} for rows in (data, data.get("spot", {}))]
    on_demand, spot = ({Family(name): most for name, most in rows.items()} for rows in markets)
    return RegionQuotas(on_demand=on_demand, spot=spot)


def make_group(document: Document) -> Group:
    """Make the group of a document that satisfies its schema."""
    return fill(
        Group,
        {**document.data, "place": Place(file=document.file)},
        members=lambda rows: tuple(fill(Member, row, role=Role) for row in rows),
        budget=lambda d: fill(Budget, d, amount=_decimal, period=Period, alerts=tuple),
        analyses=tuple,
        storage=lambda d: fill(Storage, d, outside_buckets=tuple),
        credentials=lambda d: fill(Credentials, d, kind=CredentialKind),
        collaborators=tuple,
        notify=lambda d: fill(Notify, d, emails=tuple, webhooks=tuple),
    )


def make_blueprint(document: Document) -> Blueprint:
    """Make the blueprint of a document that satisfies its schema."""
    data = {"limits": {}, "parameters": None, **document.data, "place": Place(file=document.file)}
    return fill(
        Blueprint,
        data,
        stage=Stage,
        links=lambda rows: tuple(fill(Link, row) for row in rows),
        environment=lambda d: fill(Environment, d, architecture=Architecture),
        resources=lambda rows: tuple(map(_make_choice, rows)),
        limits=_make_limits,
        inputs=_make_inputs,
        protocol=Protocol,
        ensemble=lambda d: fill(Ensemble, d),
        chain=lambda d: fill(Chain, d, steps=lambda rows: tuple(fill(Step, row) for row in rows)),
        on_failure=OnFailure,
        keep_failed_s=seconds_of,
        interruption=lambda d: fill(Interruption, d, fallback=Fallback),
        parameters=complete_schema,
        outputs=lambda rows: tuple(fill(Output, row) for row in rows),
        access=lambda d: fill(Access, d, groups=tuple, users=tuple),
        retention=lambda d: fill(Retention, d, archive_class=ArchiveClass),
    )


def _make_choice(data: dict[str, Any]) -> Choice:
    return fill(Choice, data, zones=tuple, price=Price, volume_type=VolumeType)


def _make_inputs(data: dict[str, Any]) -> Inputs:
    return fill(
        Inputs,
        data,
        suffixes=tuple,
        min_bytes=lambda mb: int(_decimal(mb) * MB),
        max_bytes=lambda gb: _bytes(gb, GB),
    )


def seconds_of(text: str) -> int:
    """Return the seconds of a span such as `30m`: a whole number and s, m or h."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _make_limits(data: dict[str, Any]) -> Limits:
    """Make limits; a default duration above the default maximum raises that, and not the other way round."""
    longest = max(data.get("duration", DEFAULT_DURATION), DEFAULT_MAX_DURATION)
    return fill(
        Limits,
        {"max_duration": longest, **data},
        duration_s=_seconds,
        max_duration_s=_seconds,
        cost=_decimal,
        result_bytes=lambda gb: _bytes(gb, GB),
        log_bytes=lambda mb: _bytes(mb, MB),
    )


def _seconds(minutes: int) -> int:
    return minutes * MINUTE


def _bytes(amount: float, unit: int) -> int:
    return max(1, int(_decimal(amount) * unit))


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
