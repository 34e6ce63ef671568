"""`mayfly extend`: let a job run longer."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from mayfly.cli.context import Context
from mayfly.cli.jobs import find_job
from mayfly.cli.output import say, show_json
from mayfly.cli.platform import as_json
from runner.extending import extend as grant
from runner.extending import weigh
from runner.pricing import format_money


@click.command()
@click.argument("job")
@click.argument("minutes", type=click.IntRange(1))
@click.option("--dry-run", is_flag=True, help="Only say what it would cost at most; the budget is not looked at.")
@as_json
@click.pass_obj
def extend(context: Context, job: str, minutes: int, *, dry_run: bool, as_json: bool) -> None:
    """Let a job run MINUTES longer than it was allowed to.

    What the time may cost is reserved first; without room in the group's budget, or beyond what the analysis allows,
    nothing changes. Machines that work already learn of it within half a minute. Repeating the command adds again.

    \b
    Examples:  mayfly extend JOB 30 --dry-run
               mayfly extend JOB 30
    """  # noqa: D301
    ledger, platform, now = context.ledger(), context.platform(), datetime.now(UTC)
    record, extra_s = find_job(ledger, job), 60 * minutes
    found = weigh(ledger, platform, record.id, extra_s) if dry_run else grant(ledger, platform, record.id, extra_s, now)
    if as_json:
        show_json({**asdict(found), "granted": not dry_run})
        return
    datasets = "1 dataset" if found.tasks == 1 else f"{found.tasks} datasets"
    until = "" if found.deadline is None else f", everything gone by {found.deadline.astimezone():%Y-%m-%d %H:%M}"
    verb, money = ("would", "would be") if dry_run else ("may now", "are")
    say(f"Job {found.job} {verb} run {found.limit_s // 60} minutes in all{until}.")
    say(f"{datasets} at work; at most {format_money(found.bound)} more {money} reserved.")
