"""What a worker works with: the values and interfaces that every part of a job's life shares."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from compiler.deployment import Deployment
from runner.cloud_values import Cloud
from runner.monitor import Patience, Signs
from runner.provisioner import Provisioner
from state.backend import Backend
from state.chronicle import Chronicle
from state.job import JobStatus
from state.lease import Leases
from state.ledger import Ledger
from state.pace import Pace

SHARE_S = 0.025
"""Seconds that each watched task adds to the time between two looks at the same job: at most 40 tasks a second."""


class Certifier(Protocol):
    """Tells a job's story to its user."""

    def write(self, job_id: str, signs: list[Signs] | None = None, *, rest: timedelta = timedelta(0)) -> None:
        """Write the certificate as it stands; mere progress may wait until `rest` has passed since the last one."""

    def close(self, job_id: str) -> JobStatus:
        """Write the last certificate and the end marker, then give the job its final status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFile:
    """The agent that is built for this release: where it lies here, and its SHA-256."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What a worker works with.

    Attributes:
        ledger: the durable record.
        cloud: acts as the platform.
        terraform: runs workspaces.
        certifier: tells users.
        deployment: whose jobs.
        backend: where the state of workspaces is kept; a local one is beside each of them.
        module: the job module's files, text by name.
        agent: what instances run.
        jobs: folder of the workspaces.
        clock: returns the time, UTC.
        wait: sleeps, or raises `Stopping` when this process is to end.
        stopping: says whether it is.
        look_s: seconds between two looks at a running job.
        patience: how long silence is taken for work.
        pace: how fast the account may start machines; None where nobody counts.
        name: this worker's, in leases.
    """

    ledger: Ledger
    cloud: Cloud
    terraform: Provisioner
    certifier: Certifier
    deployment: Deployment
    backend: Backend
    module: Mapping[str, str]
    agent: AgentFile
    jobs: Path
    clock: Callable[[], datetime]
    wait: Callable[[float], object]
    stopping: Callable[[], bool] = lambda: False
    look_s: float = 1.0
    patience: Patience = field(default_factory=Patience)
    pace: Pace | None = None
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")

    def rhythm_s(self, tasks: int) -> float:
        """Return the seconds between two looks at the same job by one who watches so many tasks in all."""
        return max(self.look_s, tasks * SHARE_S)

    @property
    def chronicle(self) -> Chronicle:
        """The record of tasks."""
        return Chronicle(self.ledger.engine)

    @property
    def leases(self) -> Leases:
        """Who lives."""
        return Leases(self.ledger.engine)
