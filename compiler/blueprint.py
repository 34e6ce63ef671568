"""One analysis as a value: what a blueprint file says, with defaults filled in and units made plain.

The file uses the units people think in (minutes, GB); values hold seconds and bytes. `yaml` in a field's
metadata is its name in the file where the two differ; a test holds these classes and the schema together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compiler.parts import (
    DEFAULT_DURATION,
    DEFAULT_MAX_DURATION,
    GB,
    LARGEST_VOLUME_GB,
    MB,
    MINUTE,
    Access,
    Architecture,
    ArchiveClass,
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
from state.errors import Place

__all__ = [
    "DEFAULT_DURATION",
    "DEFAULT_MAX_DURATION",
    "GB",
    "LARGEST_VOLUME_GB",
    "MB",
    "MINUTE",
    "Access",
    "Architecture",
    "ArchiveClass",
    "Blueprint",
    "Chain",
    "Choice",
    "Ensemble",
    "Environment",
    "Fallback",
    "Inputs",
    "Interruption",
    "Limits",
    "Link",
    "OnFailure",
    "Output",
    "Price",
    "Protocol",
    "Retention",
    "Stage",
    "Step",
    "VolumeType",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """One analysis.

    Attributes:
        id: never changes; becomes part of names on AWS.
        title: for people, one line.
        description: for people, any length.
        stage: who may opt in.
        environment: what runs.
        resources: which machines, in order of preference.
        limits: what one job may use.
        inputs: which datasets are accepted.
        protocol: how a submission becomes tasks.
        parameters: JSON Schema 2020-12 of the config file, without the platform's own parameters.
        outputs: what to expect.
        access: whom a private blueprint admits.
        bucket: name of its bucket when it is not `{deployment}-{id}`.
        links: pages about it.
        contact: e-mail address of who answers for it.
        citation: what to cite when it was used.
        renamed_from: the id it was born with, when it has another now; bucket, root and state keep it.
        purge: whether removing it also removes its bucket with all data.
        retention: how long data is kept.
        ensemble: settings of the protocol `ensemble`, else None.
        chain: settings of the protocol `chain`, else None.
        on_failure: whether a failed task stops the others of its job.
        keep_failed_s: how long a failed machine stays for its developer, seconds, inside its budget.
        interruption: what follows when a spot machine is taken back.
        place: the file it was read from.
    """

    id: str
    title: str
    resources: tuple[Choice, ...]
    place: Place
    description: str = ""
    stage: Stage = Stage.PRIVATE
    environment: Environment = field(default_factory=Environment)
    limits: Limits = field(default_factory=Limits)
    inputs: Inputs = field(default_factory=Inputs)
    protocol: Protocol = Protocol.PER_DATASET
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object"})
    outputs: tuple[Output, ...] = ()
    access: Access = field(default_factory=Access)
    bucket: str | None = None
    links: tuple[Link, ...] = ()
    contact: str | None = None
    citation: str | None = None
    renamed_from: str | None = None
    purge: bool = False
    retention: Retention = field(default_factory=Retention)
    ensemble: Ensemble | None = None
    chain: Chain | None = None
    on_failure: OnFailure = OnFailure.CONTINUE
    keep_failed_s: int = field(default=0, metadata={"yaml": "keep_failed"})
    interruption: Interruption = field(default_factory=Interruption)
