"""The nets beside EC2: workspaces and locks of jobs that are over; ledger and cloud held against each other."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from runner.cloud_values import Cloud
from runner.reaper import FORGOTTEN
from runner.workplace import COPY
from state.backend import Backend, S3Backend
from state.chronicle import Chronicle
from state.errors import StateError
from state.job import JobStatus
from state.ledger import Ledger

LOCK = ".tflock"
_UP = {JobStatus.PROVISIONING, JobStatus.RUNNING, JobStatus.UPLOADING}

log = logging.getLogger(__name__)


def is_over(ledger: Ledger, job: str) -> bool:
    """Whether no one will work on a job any more: it has ended, or this ledger never knew it."""
    try:
        return ledger.job(job).status.is_final
    except StateError:
        return True


def stale_workspaces(folder: Path, ledger: Ledger, now: datetime) -> list[Path]:
    """Return the workspaces of jobs that are over, and drafts that nobody finished, once they are old enough."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            old = now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > FORGOTTEN
        except FileNotFoundError:
            continue
        job = path.name.removeprefix(".").removesuffix(".draft")
        if path.is_dir() and old and (path.name.startswith(".") or is_over(ledger, job)):
            found.append(path)
    return found


def stale_objects(cloud: Cloud, backend: Backend, ledger: Ledger, now: datetime) -> list[str]:
    """Return the keys of the locks on states, and of the workspaces, of jobs that are over: their workers died."""
    if not isinstance(backend, S3Backend):
        return []  # a file's lock dies with the process that holds it
    return [
        one.key
        for one in cloud.list(backend.bucket, "jobs/")
        if one.key.endswith((LOCK, COPY))
        and now - one.modified > FORGOTTEN
        and is_over(ledger, one.key.removeprefix("jobs/").split(".", 1)[0])
    ]


def kind_of(key: str) -> str:
    """Return what a stale object is, in a word."""
    return "lock" if key.endswith(LOCK) else "workspace"


def clear(cloud: Cloud, backend: Backend, ledger: Ledger, folder: Path, now: datetime) -> list[str]:
    """Remove stale workspaces and locks; return what was removed, in words."""
    told = []
    for path in stale_workspaces(folder, ledger, now):
        shutil.rmtree(path, ignore_errors=True)
        told.append(f"workspace {path.name}")
    for key in stale_objects(cloud, backend, ledger, now):
        if isinstance(backend, S3Backend):
            cloud.delete(backend.bucket, key)
            told.append(f"{kind_of(key)} {key}")
    return told


def reconcile(cloud: Cloud, ledger: Ledger, *, deployment: str, clock: Callable[[], datetime]) -> list[str]:
    """Hold ledger and cloud against each other, and say where they differ; each job's own life mends it.

    A job whose machines the cloud has lost ends through its monitor; a machine of a job that the ledger does not know,
    or that has ended, is the reaper's.
    """
    running = {record.id: record for record in ledger.running()}
    machines = [one for one in cloud.instances(deployment=deployment) if not one.is_gone]
    there = {one.job for one in machines}
    told: list[str] = []
    for record in running.values():
        started = [one for one in Chronicle(ledger.engine).current(record.id).values() if one.instance]
        if record.status in _UP and started and record.id not in there:
            text = f"the ledger thinks {len(started)} machines are up, and the cloud has none"
            ledger.tell(record.id, text, clock(), once="lost-machines")
            told.append(f"{record.id}: {text}")
    told += [
        f"{one.id}: runs for {one.job or 'no job'}, which is not under way; the reaper looks after it"
        for one in machines
        if one.job not in running
    ]
    for text in told:
        log.warning("%s", text)
    return told
