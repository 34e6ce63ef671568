"""What outlives a run: the checkpoint that the next one goes on from, and a failed machine for its developer."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from runner.iae.ending import Ending, TaskError
from runner.iae.machine import tell
from runner.iae.manifest import Source
from runner.iae.results import check_size, gather, upload
from runner.iae.transfer import fetch

if TYPE_CHECKING:
    from runner.iae.report import Outcome
    from runner.iae.task import Task


def restore_checkpoint(task: Task) -> None:
    """Bring back what an earlier run of this task saved when it was interrupted."""
    manifest, folders = task.manifest, task.folders
    source = Source(bucket=manifest.results.bucket, key=manifest.checkpoint)
    if not manifest.run or not source.key or not any(True for _ in task.store.scan(source.bucket, source.key)):
        return
    fetched = fetch(
        source, folders.root, store=task.store, halt=task.halt, on_trouble=task.trouble, on_bytes=lambda _: None
    )
    folders.checkpoint.rmdir()
    fetched.rename(folders.checkpoint)
    if task.user is not None:
        for path in (folders.checkpoint, *folders.checkpoint.rglob("*")):
            os.chown(path, task.user.uid, task.user.gid, follow_symlinks=False)
    task.log.say(f"goes on from the checkpoint of run {manifest.run}")


def save_checkpoint(task: Task) -> None:
    """Upload what the analysis saved before its machine goes; without it the next run begins anew."""
    manifest = task.manifest
    harvest = gather(task.folders.checkpoint, manifest.checkpoint)
    if not manifest.checkpoint or not harvest.files:
        return
    try:
        check_size(harvest, manifest.result_limit_bytes)
        upload(
            harvest.files,
            manifest.results.bucket,
            manifest.checkpoint,
            store=task.store,
            halt=task.last_halt(),
            on_trouble=task.trouble,
            on_bytes=lambda _: None,
        )
        task.log.say(f"saved a checkpoint of {len(harvest.files)} files, {harvest.size / 1e6:.2f} MB")
    except TaskError as error:
        task.log.say(f"the checkpoint was not saved: {error}")


def hold_until(task: Task, outcome: Outcome, ended: datetime) -> datetime | None:
    """Return how long a machine whose task failed stays for its developer: never beyond the time the task had."""
    kept = {Ending.SUCCEEDED, Ending.STOPPED, Ending.INTERRUPTED}
    if not task.manifest.keep_failed_s or outcome.ending in kept or task.stop.is_set():
        return None
    paid_for = task.board.started + timedelta(seconds=task.manifest.time_limit_s + task.outlook.granted())
    until = min(ended + timedelta(seconds=task.manifest.keep_failed_s), paid_for, task.outlook.deadline)
    return until if until > ended else None


def hold(task: Task, outcome: Outcome) -> None:
    """Keep the machine on until its time is over, somebody stops it, or it is about to go."""
    if outcome.held_until is None:
        return
    tell(f"held for its developer until {outcome.held_until.isoformat()}")
    while not task.stop.is_set() and task.outlook.notice is None:
        left = (outcome.held_until - task.clock.now()).total_seconds()
        if left <= 0:
            return
        task.clock.wait(task.stop, min(left, 1.0))
