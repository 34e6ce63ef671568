"""`mayfly submit`: upload datasets and start a job on them, as the people of a group do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from mayfly.cli.context import Context
from mayfly.cli.follow import Follower
from mayfly.cli.jobs import tell_event
from mayfly.cli.open import group_cloud
from mayfly.cli.output import console, note, say, show_json
from mayfly.cli.platform import as_json
from runner.parcel import Parcel, prepare
from runner.submit import Submitted, send
from state.errors import JobError, StateError, SubmissionError
from state.job import JobStatus
from state.keys import job_id
from state.ledger import Ledger
from state.record import JobRecord

INTAKE_S = 60.0
"""How long a submission may take from upload to ledger before we say that nobody seems to be watching, seconds."""


@click.command()
@click.argument("analysis")
@click.argument("datasets", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--group", required=True, help="The group that pays and gets the results.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Parameters, YAML or JSON.")
@click.option("--instance-type", help="One that the blueprint lists; its first when not given.")
@click.option("--name", default="", help="Becomes part of the result folder's name.")
@click.option("-f", "--follow", is_flag=True, help="Show what happens until the job has ended.")
@as_json
@click.pass_obj
def submit(
    context: Context,
    *,
    analysis: str,
    datasets: tuple[Path, ...],
    group: str,
    config: Path | None,
    instance_type: str | None,
    name: str,
    follow: bool,
    as_json: bool,
) -> int:
    """Upload DATASETS and start a job of ANALYSIS on them, one machine each.

    What would be refused is refused before anything is uploaded. With -f it exits with 7 when the job fails, and with
    4 when it is refused.

    \b
    Examples:  mayfly submit pca recording.npy --group lab1
               mayfly submit pca a.npy b.npy --group lab1 --config my.yaml -f
    """  # noqa: D301
    platform = context.platform()
    parcel = prepare(
        platform=platform,
        group=group,
        analysis=analysis,
        datasets=datasets,
        config=config,
        now=datetime.now(UTC),
        instance_type=instance_type,
        name=name,
    )
    cloud = group_cloud(platform, context.cloud(platform), group)
    with transfer(parcel, "uploading") as on_bytes:
        done = send(cloud, parcel, on_bytes=on_bytes)
    job = id_of(done, analysis)
    if as_json:
        show_json({"job": job, "submission": done})
    else:
        say(f"submitted job {job}")
        say(f"  results will be in s3://{done.bucket}/{done.results.results}")
        if not follow:
            say(f"  follow it with: mayfly logs -f {job}")
    if not follow:
        return 0
    ledger = context.ledger()
    job = wait_for_job(ledger, done, analysis).id
    follower = Follower(ledger=ledger, cloud=cloud, job_id=job, wait=time.sleep)
    for event in follower.events():
        tell_event(event, task=None, as_json=as_json, many=len(datasets) > 1)
    return tell_ending(ledger.job(job))


def id_of(done: Submitted, analysis: str) -> str:
    """Return the id that the job of a submission has, before anybody has looked at it."""
    return job_id(analysis=analysis, bucket=done.bucket, key=done.submit_key, version=done.version)


def wait_for_job(
    ledger: Ledger, done: Submitted, analysis: str, wait: Callable[[float], object] = time.sleep
) -> JobRecord:
    """Return a job as soon as the ledger has it.

    Raises:
        StateError: nobody took the submission.
    """
    end = time.monotonic() + INTAKE_S
    while time.monotonic() < end:
        for record in ledger.jobs(analysis=analysis):
            if record.results == done.results:
                return record
        wait(0.2)
    raise StateError(
        f"s3://{done.bucket}/{done.submit_key} is uploaded, but nobody took it within {INTAKE_S:.0f} s. "
        "Is the watcher running (`mayfly up`)? It is taken as soon as one does."
    )


def tell_ending(record: JobRecord) -> int:
    """Say why a job ended when it did not succeed. Return the exit code that fits."""
    if record.status is JobStatus.DONE:
        return 0
    reason = record.ending.reason if record.ending else "no reason is known"
    note(f"Job {record.id}: {record.status}. {reason}", style="red")
    return SubmissionError.exit_code if record.status is JobStatus.REJECTED else JobError.exit_code


@contextmanager
def transfer(parcel: Parcel, title: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for uploads on a terminal, nothing elsewhere."""
    out = console(sys.stderr)
    if not out.is_terminal:
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=parcel.size)
        yield lambda count: progress.advance(task, count)
