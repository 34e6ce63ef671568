"""The deployment as a value: what mayfly.yaml says."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from state.errors import Place
from state.vcpus import RegionQuotas

DEPLOYMENT_FILE: Final = "mayfly.yaml"


class CloudKind(StrEnum):
    """Where jobs run: the cloud embedded in this machine, or AWS."""

    EMBEDDED = "embedded"
    AWS = "aws"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLimits:
    """What the whole platform may use.

    Attributes:
        instances: at once, over all groups.
        vcpus: virtual CPUs at once, over all groups: one figure that holds in each region, or quotas by region as
            `state.vcpus` reads them; None sets no bound.
        group_instances: instances at once of one group (`per_group` in the file); None sets no bound.
        jobs: that the engine runs at once, over all workers.
        jobs_per_group: that it runs at once of one group.
    """

    instances: int = 100
    vcpus: int | dict[str, RegionQuotas] | None = None
    group_instances: int | None = field(default=None, metadata={"yaml": "per_group"})
    jobs: int = 400
    jobs_per_group: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where instances are placed. Without one they go to the account's default VPC.

    Attributes:
        vpc: id of the VPC, or None for the default one.
        subnets: ids of its subnets; jobs are spread over them.
        public_ip: whether instances on AWS get a public address; None gives one where there is no other way out, in
            the default VPC.
    """

    vpc: str | None = None
    subnets: tuple[str, ...] = ()
    public_ip: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStore:
    """Where Terraform's state lives on AWS: a versioned bucket that exists before the first apply."""

    bucket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The mail server that notices go through.

    Attributes:
        server: its name; credentials come from the environment, never from YAML.
        sender: the address that notices come from.
        port: 587 speaks STARTTLS, 465 TLS, 25 neither.
    """

    server: str
    sender: str
    port: int = 587


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One platform in one account and region.

    Attributes:
        name: first part of every name on AWS.
        cloud: embedded or AWS.
        account: twelve digits.
        region: where buckets, the queue and, unless a blueprint says otherwise, instances are.
        tags: put on everything, beside the platform's own.
        limits: what the whole platform may use.
        network: where instances are placed.
        state: where Terraform's state lives.
        mail: the mail server for notices, or None to send none.
        permissions_boundary: ARN of the policy that bounds every role, or None.
        runner_trust: ARNs of who may act as the runner; empty for whoever the account lets assume its role.
        cors_origins: origins of web pages that may call the buckets, such as `https://mayfly.example`.
        prices: on-demand prices that are known better than by our list, USD per hour, by region and instance type.
        place: the file it was read from.
    """

    name: str
    account: str
    region: str
    place: Place
    cloud: CloudKind = CloudKind.EMBEDDED
    tags: dict[str, str] = field(default_factory=dict)
    limits: PlatformLimits = field(default_factory=PlatformLimits)
    network: Network = field(default_factory=Network)
    state: StateStore = field(default_factory=StateStore)
    mail: Mail | None = None
    permissions_boundary: str | None = None
    runner_trust: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    prices: dict[str, dict[str, Decimal]] = field(default_factory=dict)
