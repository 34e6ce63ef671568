"""Commands for jobs that exist: list them, show one, read its log, stop it, fetch its results."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mayfly.cli.budget import tell_why
from mayfly.cli.context import Context
from mayfly.cli.follow import Follower, LogLine
from mayfly.cli.open import group_cloud
from mayfly.cli.output import duration, note, say, show_facts, show_json, show_json_line, show_table, size
from mayfly.cli.platform import as_json
from mayfly.cli.refusals import show_costs, show_rejected
from runner.cloud_values import Cloud
from state.errors import JobError, StateError, UsageError
from state.job import JobStatus
from state.ledger import Ledger
from state.record import JobRecord, StoryLine

RECENT = 1000
"""Among how many jobs, the newest first, a beginning of an id is looked for."""


@click.group(invoke_without_command=True)
@click.option("--group", help="Only jobs of this group.")
@click.option("--analysis", help="Only jobs of this analysis.")
@click.option("--running", is_flag=True, help="Only jobs that have not ended.")
@click.option("--rejected", is_flag=True, help="Only what was refused, with the reason: jobs, files, messages.")
@click.option("--costs", is_flag=True, help="What jobs that run have cost until now.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@as_json
@click.pass_context
def jobs(
    click_context: click.Context,
    *,
    group: str | None,
    analysis: str | None,
    running: bool,
    rejected: bool,
    costs: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, the newest first.

    \b
    Examples:  mayfly jobs --running
               mayfly jobs --rejected
               mayfly jobs why JOB
    """  # noqa: D301
    if click_context.invoked_subcommand is not None:
        return
    ledger = click_context.obj.ledger()
    if rejected:
        show_rejected(ledger, group=group, analysis=analysis, limit=limit, as_json=as_json)
        return
    statuses = [status for status in JobStatus if not status.is_final] if running or costs else []
    records = ledger.jobs(group=group, analysis=analysis, statuses=statuses, limit=limit)
    if costs:
        show_costs(ledger, records, as_json=as_json)
        return
    if as_json:
        show_json([describe(record) for record in records])
        return
    rows = [
        (
            record.id,
            record.group,
            record.analysis,
            record.status,
            f"{record.submitted.astimezone():%Y-%m-%d %H:%M:%S}",
            duration(((record.ended or datetime.now(UTC)) - record.submitted).total_seconds()),
            f"{record.cost:.4f}" if record.cost is not None else f"≤ {record.bound:.2f}",
        )
        for record in records
    ]
    show_table(("job", "group", "analysis", "status", "submitted", "time", "USD"), rows, empty="There are no jobs.")


@jobs.command()
@click.argument("job")
@as_json
@click.pass_obj
def show(context: Context, job: str, as_json: bool) -> None:
    """Show one job: what it runs on, its story, what it cost, where its results are.

    JOB is its id, or a beginning that only one job has.
    """
    ledger = context.ledger()
    record = find_job(ledger, job)
    story = ledger.story(record.id)
    if as_json:
        show_json({**describe(record), "story": story, "usage": ledger.usage(record.id, datetime.now(UTC))})
        return
    facts: dict[str, object] = {
        "job": record.id,
        "group": record.group,
        "analysis": record.analysis,
        "status": record.status,
        "reason": record.ending.reason if record.ending else "",
        "cost": f"{record.cost} USD" if record.cost is not None else f"at most {record.bound} USD",
        "results": f"s3://{record.results.bucket}/{record.results.results}",
        "certificate": f"s3://{record.results.bucket}/{record.results.certificate}",
    }
    if record.job is not None:
        hardware = record.job.hardware
        facts["machines"] = f"{len(record.job.tasks)} of type {hardware.instance_type} in {hardware.region}"
    show_facts({name: value for name, value in facts.items() if value})
    for line in story:
        say(f"  {line.at.astimezone():%H:%M:%S}  {line.text}")


@jobs.command()
@click.argument("job")
@as_json
@click.pass_obj
def why(context: Context, job: str, as_json: bool) -> None:
    """Say what a job waits for, how many go before it, and what comes next.

    JOB is its id, or a beginning that only one job has.
    """
    ledger = context.ledger()
    tell_why(ledger, find_job(ledger, job), as_json=as_json)


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--task", type=click.IntRange(0), help="Only the lines of this task.")
@as_json
@click.pass_obj
def logs(context: Context, job: str, follow: bool, task: int | None, as_json: bool) -> int:
    """Print what a job's tasks print, and with -f its status as it changes. Exits with 7 when a followed job failed.

    \b
    Examples:  mayfly logs JOB
               mayfly logs -f JOB --task 0
    """  # noqa: D301
    ledger, platform = context.ledger(), context.platform()
    record = find_job(ledger, job)
    cloud = group_cloud(platform, context.cloud(platform), record.group)
    follower = Follower(ledger=ledger, cloud=cloud, job_id=record.id, wait=time.sleep)
    for event in follower.events() if follow else follower.once():
        tell_event(event, task=task, as_json=as_json, many=len(record.job.tasks) > 1 if record.job else False)
    if not follow:
        return 0
    return 0 if ledger.job(record.id).status is JobStatus.DONE else JobError.exit_code


def tell_event(event: StoryLine | LogLine, *, task: int | None, as_json: bool, many: bool) -> None:
    """Print one event of a job; log lines on standard output, the story beside it."""
    if isinstance(event, StoryLine):
        if as_json:
            show_json_line({"at": event.at, "kind": event.kind, "text": event.text})
        else:
            note(f"{event.at.astimezone():%H:%M:%S}  {event.text}", style="bold" if event.kind == "status" else None)
    elif task in {None, event.task}:
        if as_json:
            show_json_line({"kind": "log", "task": event.task, "text": event.text})
        else:
            say(f"[{event.task}] {event.text}" if many else event.text)


@click.command()
@click.argument("job")
@click.option("--reason", default="stopped by its user", show_default=True, help="Goes into the certificate.")
@click.pass_obj
def cancel(context: Context, job: str, reason: str) -> None:
    """Stop a job. Its machines are destroyed, what it used is accounted for, and its certificate says why."""
    ledger = context.ledger()
    record = find_job(ledger, job)
    if record.status.is_final:
        raise JobError(f"Job {record.id} is over already: {record.status}.")
    if ledger.request_cancel(record.id, reason, datetime.now(UTC)):
        say(f"Job {record.id} will be stopped. `mayfly logs -f {record.id}` shows how it ends.")
    else:
        say(f"Job {record.id} is being taken down already.")


@click.command()
@click.argument("job")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Download everything into this folder.")
@click.option("--logs", "with_logs", is_flag=True, help="The logs and the certificate, too.")
@as_json
@click.pass_obj
def results(context: Context, job: str, to: Path | None, with_logs: bool, as_json: bool) -> None:
    """List a job's result files, or download them.

    \b
    Examples:  mayfly results JOB
               mayfly results JOB --to results/ --logs
    """  # noqa: D301
    ledger, platform = context.ledger(), context.platform()
    record = find_job(ledger, job)
    cloud = group_cloud(platform, context.cloud(platform), record.group)
    root = record.results.root if with_logs else record.results.results
    files = [info for info in cloud.list(record.results.bucket, root) if not info.key.endswith("/")]
    if to is not None:
        paths = download(cloud, record, [info.key for info in files], to)
        if as_json:
            show_json(paths)
        else:
            say(f"{len(paths)} files in {to}")
        return
    if as_json:
        show_json([{"key": f.key, "size": f.size, "etag": f.etag} for f in files])
        return
    rows = [(f.key.removeprefix(record.results.root), size(f.size)) for f in files]
    show_table(("file", "size"), rows, empty=f"Job {record.id} ({record.status}) has no files there.")


def download(cloud: Cloud, record: JobRecord, keys: list[str], folder: Path) -> list[Path]:
    """Download objects of a job's folder, keeping their places below it; return the files.

    Raises:
        UsageError: a key would lead out of the folder; nothing of ours writes such keys.
    """
    paths = []
    for key in keys:
        path = folder / key.removeprefix(record.results.root)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"s3://{record.results.bucket}/{key} would be written outside {folder}; it is left alone.")
        path.parent.mkdir(parents=True, exist_ok=True)
        cloud.download(record.results.bucket, key, path)
        paths.append(path)
    return paths


def find_job(ledger: Ledger, text: str) -> JobRecord:
    """Return the job with this id, or the only one whose id begins so.

    Raises:
        StateError: there is none, or more than one.
    """
    with suppress(StateError):
        return ledger.job(text)
    found = [record for record in ledger.jobs(limit=RECENT) if record.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StateError(f"{text} is the beginning of {len(found)} jobs: {', '.join(r.id for r in found[:5])} …")
    raise StateError(f"There is no job {text}. `mayfly jobs` lists those that there are.")


def describe(record: JobRecord) -> dict[str, Any]:
    """Return a job for JSON."""
    job = record.job
    return {
        "job": record.id,
        "group": record.group,
        "analysis": record.analysis,
        "analysis_version": job.analysis_version if job else None,
        "status": record.status,
        "reason": record.ending.reason if record.ending else None,
        "submitted": record.submitted,
        "ended": record.ended,
        "deadline": record.deadline,
        "cost_usd": record.cost,
        "bound_usd": record.bound,
        "tasks": [{"number": t.number, "dataset": t.dataset} for t in job.tasks] if job else [],
        "results": f"s3://{record.results.bucket}/{record.results.results}",
        "certificate": f"s3://{record.results.bucket}/{record.results.certificate}",
    }
