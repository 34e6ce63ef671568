"""`mayfly demo`: one job from data to result on this machine, shown live, with nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.blueprint import Blueprint
from compiler.model import Platform
from mayfly.cli.context import RUNTIME, Context, Home
from mayfly.cli.demo_show import show_left, show_outcome, tell_line
from mayfly.cli.follow import Follower, LogLine
from mayfly.cli.open import group_cloud
from mayfly.cli.output import duration, note, say, shorten
from mayfly.cli.platform import summary
from mayfly.cli.running import Running, interruptible, running
from mayfly.cli.submit import tell_ending, transfer, wait_for_job
from runner.submit import submit
from state.errors import StateError, UsageError
from state.ledger import Ledger
from state.record import StoryLine

MOST_HOMES = 20
"""Demos that run beside each other; more would only wait for the machine."""
EARLIER_S = 60.0
"""How long jobs of an earlier run may take to be taken down, seconds."""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), multiple=True, help="Your own dataset; may be given again.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Your own parameters, YAML or JSON.")
@click.option("--analysis", default="pca", show_default=True, help="Which analysis to run.")
@click.option("--group", help="On whose behalf; the first group that may when not given.")
@click.pass_obj
def demo(context: Context, *, data: tuple[Path, ...], config: Path | None, analysis: str, group: str | None) -> int:
    """Run one job from data to result on this machine, in an embedded cloud of its own, and show it live.

    Without --data it makes example data whose answer is known. Everything it makes is below .mayfly/demo; demos that
    run beside each other take folders and ports of their own. What was deployed before is not deployed again.

    \b
    Examples:  make demo
               make demo DATA=my.npy CONFIG=my.yaml
               mayfly demo --data a.npy --data b.npy
    """  # noqa: D301
    start = time.monotonic()
    platform = context.platform()
    if not context.is_embedded(platform):
        raise UsageError(f"{platform.deployment.place}: the demo runs on the embedded cloud; here cloud is aws.")
    blueprint, group = choose(platform, analysis, group)
    with interruptible(), ExitStack() as stack:
        own = take_home(context, stack)
        say(f"Mayfly runs {analysis} for {group}, in {shorten(own.home.folder)}.", style="bold")
        stage("the embedded cloud and the platform on it")
        it = stack.enter_context(
            running(own, platform, apply=True, on_news=tell_news, on_root=lambda root: tell_news(summary(root)))
        )
        tell_news(f"ready after {duration(time.monotonic() - start)}, at {it.cloud.settings.endpoint}")
        code = run_job(own, it, platform, blueprint, group=group, data=data, config=config)
        stage("stopping")
    say(f"  everything in {duration(time.monotonic() - start)}; `make clean` removes what was made")
    return code


def run_job(
    context: Context,
    it: Running,
    platform: Platform,
    blueprint: Blueprint,
    *,
    group: str,
    data: tuple[Path, ...],
    config: Path | None,
) -> int:
    """Submit one job, follow it to its end, and show what became of it. Return the exit code."""
    datasets = list(data) or example_data(context, blueprint)
    if config is None and not data:
        config = example_config(context, blueprint)
    stage(f"submitting {len(datasets)} dataset{'s' if len(datasets) > 1 else ''}")
    cloud = group_cloud(platform, it.cloud, group)
    with transfer(datasets, "uploading") as on_bytes:
        done = submit(
            cloud,
            platform=platform,
            group=group,
            analysis=blueprint.id,
            datasets=datasets,
            config=config,
            now=datetime.now(UTC),
            on_bytes=on_bytes,
        )
    for key in (*done.datasets, done.config, done.submit_key):
        tell_news(f"s3://{done.bucket}/{key}")
    stage("the job")
    wait = waiting(it)
    ledger = context.ledger_made()
    record = wait_for_job(ledger, done, blueprint.id, wait)
    try:
        for event in Follower(ledger=ledger, cloud=cloud, job_id=record.id, wait=wait).events():
            tell_event(event, many=len(datasets) > 1)
    except KeyboardInterrupt:
        # Everything stops now; whoever runs here next takes the job down and writes its certificate.
        ledger.request_cancel(record.id, "The demo was stopped with Ctrl-C.", datetime.now(UTC))
        raise
    show_outcome(context, ledger, cloud, record.id)
    left = show_left(it.cloud, platform.deployment.name, record.id)
    code = tell_ending(ledger.job(record.id))
    finish_earlier(ledger, wait)
    if left:
        note(f"{left} resources of the job are left; see {context.home.logs}", style="red")
        return code or 1
    return code


def finish_earlier(ledger: Ledger, wait: Callable[[float], object]) -> None:
    """Give jobs of an earlier run, which was stopped in the middle, the time to be taken down."""
    end = time.monotonic() + EARLIER_S
    if ledger.running():
        tell_news("jobs of an earlier run, which was stopped, are being taken down")
    while ledger.running() and time.monotonic() < end:
        wait(0.5)


def waiting(it: Running) -> Callable[[float], object]:
    """Return a pause that also keeps the platform's processes alive."""

    def wait(seconds: float) -> None:
        it.check()
        time.sleep(seconds)

    return wait


def choose(platform: Platform, analysis: str, group: str | None) -> tuple[Blueprint, str]:
    """Return the blueprint, and the group on whose behalf it runs.

    Raises:
        UsageError: there is none, or nobody may use it.
    """
    if analysis not in platform.blueprints:
        raise UsageError(f"There is no analysis {analysis}. There are: {', '.join(platform.blueprints) or 'none'}.")
    group = group or next((one for one in platform.groups if platform.may_use(one, analysis)), None)
    if group is None:
        raise UsageError(f"No group may use {analysis}. Put it into `analyses:` of a profile in users/.")
    return platform.blueprints[analysis], group


def take_home(context: Context, stack: ExitStack) -> Context:
    """Return the context with a home that is held until the stack ends, and its own folder for generated roots.

    Raises:
        StateError: all homes are taken.
    """
    names = ["demo", *(f"demo-{number}" for number in range(2, MOST_HOMES + 1))]
    folders = [context.home_option] if context.home_option else [context.project / RUNTIME / name for name in names]
    for folder in folders:
        home = Home(folder=folder.resolve())
        try:
            stack.enter_context(home.locked())
        except StateError:
            continue
        return replace(context, home_option=home.folder, build_option=home.folder / "build")
    raise StateError(f"Demos run in {', '.join(map(shorten, folders))} already. Wait until one of them has ended.")


def example_data(context: Context, blueprint: Blueprint) -> list[Path]:
    """Make the analysis's example data with its own generator. Return the datasets.

    Raises:
        UsageError: the analysis brings no example.
    """
    generator = example_folder(context, blueprint) / "generate.py"
    if not generator.is_file():
        raise UsageError(f"{blueprint.id} brings no example data ({shorten(generator)}). Give your own with --data.")
    folder = context.home.folder / "example" / blueprint.id
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", str(generator), str(folder)], capture_output=True, text=True, check=False
    )
    suffixes = blueprint.inputs.suffixes
    found = sorted(p for p in folder.iterdir() if not suffixes or p.name.casefold().endswith(suffixes))
    if done.returncode or not found:
        said = (done.stderr.strip() or "it made no dataset").splitlines()[-1]
        raise UsageError(f"{shorten(generator)} failed: {said}")
    return found


def example_config(context: Context, blueprint: Blueprint) -> Path | None:
    """Return the config that comes with the example data, if there is one."""
    folder = example_folder(context, blueprint)
    return next((p for p in (folder / "config.yaml", folder / "config.json") if p.is_file()), None)


def example_folder(context: Context, blueprint: Blueprint) -> Path:
    """Return the folder of an analysis's example."""
    return context.project / "blueprints" / blueprint.id / "example"


def tell_event(event: StoryLine | LogLine, *, many: bool) -> None:
    """Print what happens to the job: its story in bold, what its tasks print below it."""
    if isinstance(event, LogLine):
        tell_line("", f"[{event.task}] {event.text}" if many else event.text)
    else:
        tell_line(f"{event.at.astimezone():%H:%M:%S}", event.text, style="bold" if event.kind == "status" else None)


def stage(title: str) -> None:
    """Print the title of what comes next."""
    say(f"\n{title[0].upper()}{title[1:]}", style="bold")


def tell_news(text: str) -> None:
    """Print a line of what goes on."""
    say(f"  {text}")
