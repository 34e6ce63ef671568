"""A group of people as a value: what a user profile says."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from state.errors import Place


class Role(StrEnum):
    """What a person may do in a group: an owner also manages it."""

    OWNER = "owner"
    MEMBER = "member"


class Period(StrEnum):
    """How long a budget lasts before it starts again."""

    MONTHLY = "monthly"
    YEARLY = "yearly"
    TOTAL = "total"


class CredentialKind(StrEnum):
    """How a group's people sign in: short-lived credentials of its role, or an IAM user with a long-lived key."""

    FEDERATED = "federated"
    IAM_USER = "iam_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person. The e-mail address is the identity."""

    name: str
    email: str
    role: Role = Role.MEMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a group may spend, over all analyses.

    Attributes:
        amount: the cap, in `currency`. The default is NeuroCAAS's.
        currency: ISO code; AWS bills in USD.
        period: when spending counts from zero again.
        alerts: percentages of the amount at which the owners are told.
    """

    amount: Decimal = Decimal(300)
    currency: str = "USD"
    period: Period = Period.MONTHLY
    alerts: tuple[int, ...] = (50, 80, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What a group may keep, over all analyses; None sets no bound.

    Attributes:
        quota_gb: the most it may hold, GB.
        retention_days: days after which its objects are deleted; the shorter of this and a blueprint's counts.
        outside_buckets: names of buckets of its own that its jobs may read and write (`resultpath`).
    """

    quota_gb: int | None = None
    retention_days: int | None = None
    outside_buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How the people of a group get at its data.

    Attributes:
        kind: short-lived by default.
        pgp_key: for an IAM user: the PGP key, base64, that its secret is encrypted for.
    """

    kind: CredentialKind = CredentialKind.FEDERATED
    pgp_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who is told when a job starts or ends, and when the budget runs low.

    Attributes:
        emails: addresses.
        webhooks: https URLs.
    """

    emails: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of people who share a budget and a prefix in every bucket.

    Attributes:
        id: never changes; the first segment of the group's keys.
        title: for people.
        members: who belongs to it.
        budget: what it may spend.
        analyses: ids of the blueprints it opted in to.
        storage: what it may keep.
        credentials: how its people sign in.
        collaborators: ids of other groups, whose people may read this group's results.
        notify: who is told about its jobs.
        place: the file it was read from.
    """

    id: str
    title: str
    place: Place
    members: tuple[Member, ...] = ()
    budget: Budget = field(default_factory=Budget)
    analyses: tuple[str, ...] = ()
    storage: Storage = field(default_factory=Storage)
    credentials: Credentials = field(default_factory=Credentials)
    collaborators: tuple[str, ...] = ()
    notify: Notify = field(default_factory=Notify)
