"""Commands about one blueprint."""

from __future__ import annotations

import click

from compiler.shape import suggest
from compiler.version import analysis_version
from mayfly.cli.context import Context
from mayfly.cli.output import say, show_json, show_table
from mayfly.cli.platform import as_json
from runner.history import list_versions
from state.errors import UsageError

SHORT = 12
"""Digits of a commit's id that people are shown."""


@click.group()
def blueprint() -> None:
    """Blueprints: one analysis each."""


@blueprint.command()
@click.argument("analysis")
@click.option("--most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Commits to look at.")
@as_json
@click.pass_obj
def history(context: Context, analysis: str, most: int, as_json: bool) -> None:
    """List the versions of ANALYSIS, the newest first, each with the Git commit that made it.

    The version is what certificates name. It is a hash of all that decides how the analysis behaves: the blueprint
    without its words, the recipe, the module of its machines, the agent, and the provider. A commit that this release
    cannot read has none.

    \b
    Example:  mayfly blueprint history pca
    """  # noqa: D301
    platform = context.platform()
    if analysis not in platform.blueprints:
        raise UsageError(f"There is no analysis {analysis}. {suggest(analysis, platform.blueprints)}".rstrip())
    now = analysis_version(platform, analysis)
    found = list_versions(platform, analysis, most=most)
    if as_json:
        show_json({"analysis": analysis, "version": now, "history": found})
        return
    rows = [
        (v.version or "unreadable", v.commit[:SHORT], f"{v.when:%Y-%m-%d %H:%M}", v.author, v.subject) for v in found
    ]
    show_table(("version", "commit", "written", "author", "what"), rows, empty=f"{analysis} was never committed.")
    if not found or found[0].version != now:
        say(f"Here it is {now}: something that defines it is not committed.")
