"""What a demo runs: the analysis, the group, and datasets of the person or examples; refused before anything starts."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from compiler.blueprint import Blueprint
from compiler.model import Platform
from mayfly.cli.context import Context
from mayfly.cli.output import shorten
from runner.parcel import Parcel, prepare
from state.errors import UsageError


def choose(platform: Platform, analysis: str, group: str | None) -> tuple[Blueprint, str]:
    """Return the blueprint, and the group on whose behalf it runs.

    Raises:
        UsageError: there is none, or nobody may use it.
    """
    if analysis not in platform.blueprints:
        raise UsageError(f"There is no analysis {analysis}. There are: {', '.join(platform.blueprints) or 'none'}.")
    if group is not None and group not in platform.groups:
        raise UsageError(f"There is no group {group}. There are: {', '.join(platform.groups) or 'none'}.")
    group = group or next((one for one in platform.groups if platform.may_use(one, analysis)), None)
    if group is None:
        raise UsageError(f"No group may use {analysis}. Put it into `analyses:` of a profile in users/.")
    return platform.blueprints[analysis], group


def pack(
    context: Context,
    platform: Platform,
    blueprint: Blueprint,
    *,
    group: str,
    data: tuple[Path, ...],
    config: Path | None,
) -> Parcel:
    """Return what the demo submits: the person's datasets, or examples with the config that comes with them.

    Raises:
        UsageError: a file cannot be used, or there is no example.
        SubmissionError: the platform would refuse the job.
    """
    datasets = list(data) or example_data(context, blueprint)
    if config is None and not data:
        config = example_config(context, blueprint)
    return prepare(
        platform=platform,
        group=group,
        analysis=blueprint.id,
        datasets=datasets,
        config=config,
        now=datetime.now(UTC),
    )


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
