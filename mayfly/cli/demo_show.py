"""What the demo shows when its job is over: results, plot, certificate, cost, time per stage, and what is left."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

from mayfly.cli.context import Context
from mayfly.cli.jobs import download
from mayfly.cli.output import align, bars, duration, say, shorten
from runner.cloud_values import Cloud
from state.keys import ResultKeys
from state.ledger import Ledger
from state.record import JobRecord, StoryLine

VARIANCE = "explained_variance.csv"
PLOTS = (".png", ".svg")


def show_outcome(context: Context, ledger: Ledger, cloud: Cloud, job: str) -> None:
    """Fetch the results as the group may, and show what became of the job.

    Args:
        context: where the results go.
        ledger: knows the job.
        cloud: may do what the group may.
        job: id of the job.
    """
    record = ledger.job(job)
    folder = context.home.folder / "results" / job
    keys = [info.key for info in cloud.list(record.results.bucket, record.results.root) if is_shown(info.key, record)]
    paths = download(cloud, record, keys, folder)
    say("\nResults", style="bold")
    files = [path for path in paths if path.is_relative_to(folder / "process_results")]
    tell_line("files", f"{len(files)} in {shorten(folder / 'process_results')}")
    for path in files:
        if path.suffix in PLOTS:
            tell_line("plot", shorten(path))
    tell_line("certificate", shorten(folder / record.results.certificate.removeprefix(record.results.root)))
    for path in files:
        if path.name == VARIANCE:
            show_variance(path, folder / "process_results")
    say("\nCost and time", style="bold")
    if record.cost is not None and record.job is not None:
        hardware = record.job.hardware
        count = len(ledger.usage(job, record.changed))
        tell_line("on AWS", f"{record.cost} USD ({count} x {hardware.instance_type}, {hardware.hourly_price} USD/hour)")
    for line in stages(ledger.story(job)):
        tell_line("", line)


def show_left(cloud: Cloud, deployment: str) -> int:
    """Ask the cloud, not Terraform, what is left of any job; show it, and return how many resources that are."""
    left = cloud.leftovers(deployment=deployment)
    say("")
    for one in left:
        tell_line("left", f"{one.kind} {one.id} of {one.job}")
    say(f"job resources left: {len(left)}", style="bold red" if left else "bold green")
    return len(left)


def is_shown(key: str, record: JobRecord) -> bool:
    """Whether a file of the job's folder is worth fetching: not the chunks of logs that are there as a whole, too."""
    keys: ResultKeys = record.results
    return not key.endswith("/") and not key.startswith((f"{keys.logs}live/", keys.workspace))


def show_variance(path: Path, folder: Path) -> None:
    """Show how much of the variance each component explains, as bars."""
    with path.open(newline="", encoding="utf-8") as file:
        shares = {f"component {row['component']}": float(row["ratio"]) for row in csv.DictReader(file)}
    if shares:
        say(f"\n  variance explained, {path.parent.relative_to(folder)}")
        for line in bars(shares):
            say(f"    {line}")


def stages(story: list[StoryLine]) -> list[str]:
    """Return how long the job was in each status, one line each."""
    steps = [line for line in story if line.kind == "status"]
    rows = [[step.text, duration((after.at - step.at).total_seconds())] for step, after in pairwise(steps)]
    if len(steps) > 1:
        rows.append(["all", duration((steps[-1].at - steps[0].at).total_seconds())])
    return align(rows) if rows else []


def tell_line(name: str, text: str, *, style: str | None = None) -> None:
    """Print a line with its name in a column of its own."""
    say(f"  {name:11} {text}", style=style)
