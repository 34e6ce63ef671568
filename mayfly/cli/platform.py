"""The command that generates Terraform, and what other commands on roots share."""

from __future__ import annotations

import click

from compiler.model import Platform
from compiler.platform import live_roots, render_platform
from compiler.platform import roots as roots_of
from compiler.tree import compare_tree
from mayfly.cli.context import Context
from mayfly.cli.deploy import RootResult
from mayfly.cli.open import generate
from mayfly.cli.output import duration, note, say, show_json
from state.errors import UsageError

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.command("compile")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when build/ is not what the YAML files say.")
@as_json
@click.pass_obj
def compile_roots(context: Context, check: bool, as_json: bool) -> int:
    """Generate the Terraform roots in build/ from the YAML files.

    The same files give the same bytes, and only files that differ are written. Terraform's own files beside them are
    left alone. What was applied before and is described no more is let go of, and named.

    \b
    Examples:  mayfly compile
               mayfly compile --check
    """  # noqa: D301
    platform = context.platform()
    changes = compare_tree(context.build, render_platform(platform)) if check else generate(context, platform)
    roots = roots_of(platform)
    stale = int(check and bool(changes))
    for one in platform.retired:
        note(f"{one.root}: {one.story}")
    if as_json:
        show_json({"build": context.build, "roots": roots, "written": changes.written, "removed": changes.removed})
        return stale
    for path in changes.written:
        say(f"stale {path}" if check else f"wrote {path}")
    for path in changes.removed:
        say(f"not needed any more {path}" if check else f"removed {path}")
    if check:
        verdict = "is stale: run `mayfly compile`" if stale else "is what the YAML files say"
        say(f"{context.build} {verdict}.")
        return stale
    say(f"{counted(len(roots), 'root', 'roots')} in {context.build}" + ("." if changes else "; nothing changed."))
    return 0


def summary(result: RootResult) -> str:
    """Say in a line what became of a root; the figures are Terraform's."""
    if result.unchanged:
        return f"{result.root}: unchanged since it was applied"
    figures = f"{result.add} added, {result.change} changed, {result.destroy} destroyed"
    return f"{result.root}: {figures} ({duration(result.seconds)})"


def choose(platform: Platform, roots: tuple[str, ...]) -> list[str]:
    """Return the roots to work on, base first.

    Raises:
        UsageError: the platform has no such root.
    """
    known = roots_of(platform)
    for root in roots:
        if root not in known:
            raise UsageError(f"There is no root {root}. There are: {', '.join(known)}.")
    live = live_roots(platform)
    return [root for root in known if root in (roots or live)]


def counted(count: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many}"
