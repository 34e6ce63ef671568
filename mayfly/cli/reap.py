"""`mayfly reap` and `mayfly abandon`: the nets under everything, by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from mayfly.cli.context import Context
from mayfly.cli.jobs import find_job
from mayfly.cli.output import say, show_table
from runner.nets import clear, kind_of, stale_objects, stale_workspaces
from runner.reaper import forgotten
from runner.reaper import reap as remove_forgotten
from state.chronicle import Chronicle
from state.errors import JobError


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.pass_obj
def reap(context: Context, *, dry_run: bool) -> None:
    """Remove what no job needs any more: machines, disks, security groups, workspaces, locks.

    `mayfly up` does this every five minutes. A thing is looked at twice, with a pause in between, before it goes; what
    carries the tag mayfly:exempt stays.
    """
    ledger, platform = context.ledger(), context.platform()
    cloud, backend = context.cloud(platform), context.backend(platform)
    name, jobs = platform.deployment.name, context.home.jobs
    if dry_run:
        now = datetime.now(UTC)
        rows = [(str(one.kind), one.id, one.job) for one in forgotten(cloud, ledger, deployment=name, now=now)]
        rows += [("workspace", path.name, path.name) for path in stale_workspaces(jobs, ledger, now)]
        rows += [(kind_of(key), key, "") for key in stale_objects(cloud, backend, ledger, now)]
        show_table(("what", "id", "job"), rows, empty="Nothing is left behind.")
        return
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        say(f"removed {text}")

    try:
        remove_forgotten(
            cloud,
            ledger,
            deployment=name,
            clock=lambda: datetime.now(UTC),
            wait=time.sleep,
            bucket_of=lambda one: platform.bucket(one) if one in platform.blueprints else None,
            on_removed=lambda one: tell(f"{one.kind} {one.id} of job {one.job or 'none'}"),
        )
    finally:  # what refuses to go keeps nothing else here
        for text in clear(cloud, backend, ledger, jobs, datetime.now(UTC)):
            tell(text)
    if not told:
        say("Nothing is left behind.")


@click.command()
@click.argument("job")
@click.option("--reason", required=True, help="Why what is left cannot be removed; goes into the certificate.")
@click.pass_obj
def abandon(context: Context, job: str, *, reason: str) -> None:
    """Give up on removing what a job has, and let it end. What is left is listed in its certificate.

    For resources that AWS does not let go (a disk that is stuck, a group that something else uses). The job is stopped
    first, everything else of it is removed, and the reaper goes on trying.
    """
    ledger = context.ledger()
    record = find_job(ledger, job)
    if record.status.is_final:
        raise JobError(f"Job {record.id} is over already: {record.status}.")
    now = datetime.now(UTC)
    Chronicle(ledger.engine).note(record.id, "abandoned", {"reason": reason, "at": now.isoformat()})
    ledger.request_cancel(record.id, f"abandoned: {reason}", now)
    say(f"Job {record.id} ends without what cannot be removed. `mayfly reap` goes on trying.")
