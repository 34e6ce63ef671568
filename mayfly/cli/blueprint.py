"""Commands for developers of analyses."""

from __future__ import annotations

import time

import click

from compiler.shape import suggest
from mayfly.cli.context import Context
from mayfly.cli.output import duration, note, say, show_json
from mayfly.cli.platform import as_json
from runner.image import build, find, recipe_digest
from state.errors import UsageError


@click.group()
def iae() -> None:
    """Immutable analysis environments (IAE): the frozen software that an analysis runs in."""


@iae.command("build")
@click.argument("analysis")
@as_json
@click.pass_obj
def build_image(context: Context, analysis: str, as_json: bool) -> None:
    """Build the environment of ANALYSIS into the image store, unless the store has it.

    The same recipe gives the same digest on every machine. `mayfly apply` and `mayfly up` build what is missing, too.

    \b
    Example:  mayfly iae build pca
    """  # noqa: D301
    platform = context.platform()
    if analysis not in platform.blueprints:
        raise UsageError(f"There is no analysis {analysis}. {suggest(analysis, platform.blueprints)}".rstrip())
    recipe = platform.project / "blueprints" / analysis / platform.blueprints[analysis].environment.recipe
    start = time.monotonic()
    known = find(context.images, recipe_digest(recipe))
    image = known or build(recipe, context.images, lambda text: note(f"{analysis}: {text}"))
    if as_json:
        show_json({"analysis": analysis, "digest": image.digest, "path": image.path, "built": known is None})
        return
    say(f"{analysis}: {image.digest}")
    say(f"  {image.path}")
    say("  was there already" if known else f"  built in {duration(time.monotonic() - start)}")
