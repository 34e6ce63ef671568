"""The parts of a blueprint as values: what runs, on which machines, within which limits, and how a job is managed.

`yaml` in a field's metadata is its name in the file where the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

MINUTE: Final = 60
MB: Final = 10**6
GB: Final = 10**9
DEFAULT_DURATION: Final = 60
"""Minutes: what NeuroCAAS assumes for a job that declares nothing."""
DEFAULT_MAX_DURATION: Final = 120
"""Minutes: NeuroCAAS's hard cap for jobs whose blueprint says nothing."""
LARGEST_VOLUME_GB: Final = 16_384
"""Where EBS volumes of every type still go; the module `job` refuses more, and a test holds the two together."""


class Stage(StrEnum):
    """Who may opt in. A draft is compiled and checked, and cannot be run."""

    DRAFT = "draft"
    PRIVATE = "private"
    PUBLIC = "public"


class Protocol(StrEnum):
    """How a submission becomes tasks."""

    PER_DATASET = "per_dataset"
    ENSEMBLE = "ensemble"
    CHAIN = "chain"


class Price(StrEnum):
    """What is paid for a machine: on-demand, or spot capacity that AWS may take back."""

    STANDARD = "standard"
    SAVE = "save"


class Architecture(StrEnum):
    """What an image runs on, in EC2's words."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class OnFailure(StrEnum):
    """What a failed task does to the others of its job."""

    CONTINUE = "continue"
    STOP = "stop"


class Fallback(StrEnum):
    """Where a task goes on after its spot machine was taken away."""

    SPOT = "spot"
    STANDARD = "standard"


class ArchiveClass(StrEnum):
    """S3's storage classes for what is kept and hardly read."""

    STANDARD_IA = "STANDARD_IA"
    GLACIER_IR = "GLACIER_IR"
    GLACIER = "GLACIER"
    DEEP_ARCHIVE = "DEEP_ARCHIVE"


class VolumeType(StrEnum):
    """EBS types that a root volume may have."""

    GP2 = "gp2"
    GP3 = "gp3"
    IO1 = "io1"
    IO2 = "io2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A page about the analysis: its source, its paper, its help."""

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What runs: the recipe of an immutable analysis environment (IAE).

    Attributes:
        recipe: folder beside the blueprint that holds the lock file and the entry point.
        entry_point: file in that folder that is run for each task.
        architecture: what the image runs on; every machine of the resource bank must have it.
        image: AMI id per region, where the image was baked on AWS.
    """

    recipe: str = "environment"
    entry_point: str = "run.py"
    architecture: Architecture = Architecture.X86_64
    image: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One kind of machine of the resource bank; the first is the default.

    Attributes:
        instance_type: EC2's name.
        volume_gb: size of the root volume, GB.
        region: AWS region, or None for the deployment's own.
        zones: availability zones it may stand in, such as `us-east-1a`; empty for any.
        price: whether it is asked for on demand or as spot capacity.
        volume_type: EBS type of the root volume.
        iops: of the root volume, or None for what the type gives.
        throughput: of the root volume, MiB/s, or None for what the type gives; gp3 only.
        gpus: how many GPUs the analysis counts on, or None when it does not care.
    """

    instance_type: str
    volume_gb: int = 20
    region: str | None = None
    zones: tuple[str, ...] = ()
    price: Price = Price.STANDARD
    volume_type: VolumeType = VolumeType.GP3
    iops: int | None = None
    throughput: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may use.

    Attributes:
        duration_s: the most a task runs when the job declares nothing, seconds.
        max_duration_s: the most a job may declare, seconds.
        instances: the most tasks of one job, and the most machines of all its jobs at once; further jobs wait.
        cost: the most one job may cost, USD.
        result_bytes: the most a task may write as results.
        log_bytes: the most of a task's log that is kept.
    """

    duration_s: int = field(default=DEFAULT_DURATION * MINUTE, metadata={"yaml": "duration"})
    max_duration_s: int = field(default=DEFAULT_MAX_DURATION * MINUTE, metadata={"yaml": "max_duration"})
    instances: int = 100
    cost: Decimal = Decimal(300)
    result_bytes: int = field(default=100 * GB, metadata={"yaml": "result_gb"})
    log_bytes: int = field(default=100 * MB, metadata={"yaml": "log_mb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Which datasets are accepted.

    Attributes:
        suffixes: endings such as `.npy`, compared without case; empty accepts every file.
        folders: whether a dataset may be a folder.
        min_bytes: the smallest dataset.
        max_bytes: the largest dataset.
    """

    suffixes: tuple[str, ...] = ()
    folders: bool = False
    min_bytes: int = field(default=0, metadata={"yaml": "min_mb"})
    max_bytes: int = field(default=100 * GB, metadata={"yaml": "max_gb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One file to expect in the results.

    Attributes:
        path: relative to the results of a task; `*` stands for any part of a file name.
        title: what it is, in words.
        preview: whether a page may show it without a download.
    """

    path: str
    title: str = ""
    preview: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whom a private blueprint admits. Credentials are a group's, so naming a person admits that person's group."""

    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long S3 keeps what a group has in this analysis; None keeps it for ever.

    Attributes:
        inputs_days: days after which datasets are deleted.
        results_days: days after which results are deleted.
        archive_class: storage class that results move to after `archive_after_days`, or None to leave them.
        archive_after_days: days after which they move.
    """

    inputs_days: int | None = None
    results_days: int | None = None
    archive_class: ArchiveClass | None = None
    archive_after_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """What follows when AWS takes a spot machine back.

    Attributes:
        retries: times that one task is started again.
        fallback: what kind of machine it gets then.
    """

    retries: int = 2
    fallback: Fallback = Fallback.STANDARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """One dataset, many replicas that differ in their number, and a consensus over what they return.

    Attributes:
        size: replicas when the config does not say `ensemble_size`.
        max_size: the most a config may ask for.
        entry_point: file of the recipe that is run over the replicas' results, or None when there is no such step.
    """

    size: int = 5
    max_size: int = 20
    entry_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows the blueprint's own tasks: another analysis, or another entry point of the same recipe.

    Attributes:
        analysis: id of the blueprint whose job this step is; None for an entry point of one's own.
        entry_point: file of this blueprint's recipe; None for another analysis.
        instance_type: machine of the step, from the resource bank of the blueprint it belongs to; None for its first.
        inputs: which results of the step before become datasets; `*` stands for any part of a file name.
        parameters: fixed parameters of the step.
    """

    analysis: str | None = None
    entry_point: str | None = None
    instance_type: str | None = None
    inputs: str = "*"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Steps after the blueprint's own, in order; the results of each are kept."""

    steps: tuple[Step, ...]
