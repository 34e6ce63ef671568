"""`mayfly retry`: do a job again, or the part of it that failed."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from mayfly.cli.context import Context
from mayfly.cli.jobs import find_job
from mayfly.cli.open import group_cloud
from mayfly.cli.output import say
from runner.retry import submit_again, tasks_to_retry
from state.chronicle import Chronicle
from state.errors import JobError


@click.command()
@click.argument("job")
@click.option("--failed", is_flag=True, help="Only the datasets that did not succeed.")
@click.pass_obj
def retry(context: Context, job: str, *, failed: bool) -> None:
    """Submit a job again, as a new job with a result folder of its own. The old results stay.

    The datasets and the config are taken as they are now; what is refused, is refused as any submission.

    \b
    Examples:  mayfly retry JOB
               mayfly retry JOB --failed
    """  # noqa: D301
    ledger, platform = context.ledger(), context.platform()
    record = find_job(ledger, job)
    tasks = tasks_to_retry(record, Chronicle(ledger.engine), only_failed=failed)
    if record.analysis not in platform.blueprints:
        raise JobError(f"The analysis {record.analysis} of job {record.id} is no longer part of this platform.")
    cloud = group_cloud(platform, context.cloud(platform), record.group)
    bucket = platform.bucket(record.analysis)
    key = submit_again(cloud, record.admitted, tasks, bucket=bucket, now=datetime.now(UTC))
    say(f"{len(tasks)} of {len(record.admitted.tasks)} datasets of job {record.id} are submitted again: {key}")
    say("`mayfly jobs` shows the new job.")
