"""A job, its tasks, and the statuses they go through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from state.errors import JobError
from state.keys import ResultKeys


class JobStatus(StrEnum):
    """Where a job is. The second group is final; nothing follows it."""

    SUBMITTED = "submitted"
    ADMITTED = "admitted"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    UPLOADING = "uploading"
    DESTROYING = "destroying"

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    OVER_BUDGET = "over budget"
    INTERRUPTED = "interrupted"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in FINAL


FINAL = frozenset(
    {
        JobStatus.DONE,
        JobStatus.FAILED,
        JobStatus.TIMED_OUT,
        JobStatus.CANCELLED,
        JobStatus.OVER_BUDGET,
        JobStatus.INTERRUPTED,
        JobStatus.REJECTED,
    }
)
_S = JobStatus
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.SUBMITTED: frozenset({_S.ADMITTED, _S.REJECTED}),
    _S.ADMITTED: frozenset({_S.PROVISIONING, _S.DESTROYING}),
    _S.PROVISIONING: frozenset({_S.RUNNING, _S.UPLOADING, _S.DESTROYING}),
    _S.RUNNING: frozenset({_S.UPLOADING, _S.DESTROYING}),
    _S.UPLOADING: frozenset({_S.RUNNING, _S.DESTROYING}),
    _S.DESTROYING: FINAL - {_S.REJECTED},
    **{final: frozenset() for final in FINAL},
}
"""Which status may follow which. Every way out of an admitted job leads through DESTROYING."""


def check_transition(old: JobStatus, new: JobStatus) -> None:
    """Refuse a step that the life of a job does not have. Repeating a status is allowed: steps are re-run.

    Raises:
        JobError: `new` may not follow `old`.
    """
    if new != old and new not in TRANSITIONS[old]:
        msg = f"a job that is {old} cannot become {new}"
        raise JobError(msg)


class TaskStatus(StrEnum):
    """What clients read in a dataset's status file; the words are NeuroCAAS's."""

    INITIALIZING = "INITIALIZING"
    IN_PROGRESS = "IN PROGRESS"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machines one job runs on: what admission chose from the blueprint's resource bank.

    Attributes:
        instance_type: EC2's name.
        region: AWS region.
        image: AMI id.
        volume_gb: size of the root volume, GB.
        hourly_price: USD per hour and instance.
        volume_type: EBS type of the root volume.
        volume_iops: of the root volume, or None for what its type gives.
        volume_throughput: of the root volume, MiB/s, or None for what its type gives.
    """

    instance_type: str
    region: str
    image: str
    volume_gb: int
    hourly_price: Decimal
    volume_type: str = "gp3"
    volume_iops: int | None = None
    volume_throughput: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to get a machine for a task; a job has several, in the order in which they are tried.

    Attributes:
        instance_type: EC2's name.
        zone: availability zone, or None for any.
        spot: whether it is asked for at the Save price, as capacity that AWS may take back.
        hourly_price: the most it costs, USD per hour: the on-demand price, which also caps the Save price.
    """

    instance_type: str
    zone: str | None = None
    spot: bool = False
    hourly_price: Decimal

    def __str__(self) -> str:
        """Return it in words, with its price: `m5.large in us-east-1a at the Save price (at most 0.096 USD/h)`."""
        where = f" in {self.zone}" if self.zone else ""
        price = f"{self.hourly_price.normalize():f} USD/h"
        return f"{self.instance_type}{where}" + (f" at the Save price, at most {price}" if self.spot else f", {price}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a job does when something goes wrong, as its blueprint says.

    Attributes:
        stop_on_failure: whether a failed task ends the others.
        keep_failed_s: how long a failed machine is held for its developer, seconds; never beyond its time limit.
        restarts: how often a task is started again whose spot machine was taken back.
        stay_on_spot: whether it may then get a spot machine again; else a standard one.
    """

    stop_on_failure: bool = False
    keep_failed_s: int = 0
    restarts: int = 2
    stay_on_spot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The software one job runs, and what it may write.

    Attributes:
        iae: digest of the immutable analysis environment; empty when the image was baked elsewhere.
        command: argument list, relative to the root of the environment inside the image.
        result_limit_bytes: the most a task may write as results.
        log_limit_bytes: the most of a task's log that is kept.
    """

    iae: str
    command: tuple[str, ...]
    result_limit_bytes: int
    log_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One dataset of a job, one instance.

    Attributes:
        number: counts from 0.
        dataset: key, or prefix that ends in "/".
        size: bytes of the dataset when it was admitted.
        version: ETag of the dataset when it was admitted; empty for a folder.
    """

    number: int
    dataset: str
    size: int = 0
    version: str = ""

    @property
    def name(self) -> str:
        """The dataset's own name, as status files show it."""
        return self.dataset.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An admitted job: everything that its life needs, frozen when it was admitted.

    Attributes:
        id: our id, safe in every name.
        analysis: blueprint id.
        analysis_version: content hash of the blueprint that it runs.
        group: the group that pays and reads.
        timestamp: the user's text that names the result folder.
        data_bucket: bucket of the datasets and the config.
        config: key of the config file.
        parameters: what the config says, defaults filled in, without the platform's own parameters.
        results: where everything goes.
        program: the software each task runs.
        hardware: what each task runs on.
        tasks: one per dataset.
        duration_s: the most a task may run, seconds, with all that was granted since it was admitted.
        submitted: when the submission was uploaded, UTC.
        offers: the ways to get a machine, in order; empty means `hardware` and nothing else.
        policy: what happens when something goes wrong.
    """

    id: str
    analysis: str
    analysis_version: str
    group: str
    timestamp: str
    data_bucket: str
    config: str
    parameters: dict[str, Any]
    results: ResultKeys
    program: Program
    hardware: Hardware
    tasks: tuple[Task, ...]
    duration_s: int
    submitted: datetime
    offers: tuple[Offer, ...] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def ways(self) -> tuple[Offer, ...]:
        """The ways to get a machine; there is always one."""
        hardware = self.hardware
        return self.offers or (Offer(instance_type=hardware.instance_type, hourly_price=hardware.hourly_price),)

    def extended(self, extra_s: int) -> Job:
        """Return the same job, whose tasks may run longer by so many seconds."""
        return replace(self, duration_s=self.duration_s + extra_s) if extra_s else self

    def label(self, task: Task) -> str:
        """Return a task's name in files and lists: its dataset's, with its number where two are called the same."""
        twins = sum(other.name == task.name for other in self.tasks)
        return task.name if twins == 1 else f"{task.number}-{task.name}"

    def status_key(self, task: Task) -> str:
        """Return the key of a task's live status file."""
        return self.results.status(self.label(task))

    def results_folder(self, task: Task) -> str:
        """Return where a task's files go; ends with `/`.

        A job of one dataset writes straight into `process_results/`, as NeuroCAAS's clients expect. With several, each
        has a folder of its own, because they run the same program and so write the same file names.
        """
        if len(self.tasks) == 1:
            return self.results.results
        return f"{self.results.results}{self.label(task)}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a job ends: its final status and why, in words for the person who submitted it."""

    status: JobStatus
    reason: str
