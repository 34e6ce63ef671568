"""What may run on a machine that cannot keep instances apart: there they are plain processes of the person's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from compiler.blueprint import Stage
from compiler.model import Platform
from mayfly.cli.output import note
from mayfly.localcloud import LocalCloud
from mayfly.localcloud.sandbox import UNSAFE, WAY_OUT, Kind
from runner.bundled import is_bundled
from runner.image import recipe_digest
from state.errors import EnvironmentMissingError


def check_sandbox(
    local: LocalCloud,
    platform: Platform,
    wanted: Sequence[str] | None,
    on_news: Callable[[str], None],
    env: Mapping[str, str] = os.environ,
) -> None:
    """Say when instances are kept apart from this machine by less than bubblewrap; in red when by nothing.

    Args:
        local: the embedded cloud, which tried the sandboxes.
        platform: knows the analyses.
        wanted: the analyses that are to run; None for all that are no drafts.
        on_news: told in words which sandbox there is.
        env: the environment of this process, in which a person opts in to run everything without.

    Raises:
        EnvironmentMissingError: there is no sandbox, and nothing that is wanted runs without one.
    """
    problems = "; ".join(f"{name}: {problem}" for name, problem in local.sandbox_problems.items())
    if local.sandbox != Kind.NONE:
        if problems:
            on_news(f"Instances are kept apart by {local.sandbox} ({problems}).")
        return
    names = [name for name, one in platform.blueprints.items() if one.stage is not Stage.DRAFT]
    names = names if wanted is None else list(wanted)
    runs = names if env.get(UNSAFE) == "1" else [name for name in names if comes_with_mayfly(platform, name)]
    if names and not runs:
        raise EnvironmentMissingError(
            f"No sandbox works on this machine ({problems}), and without one only what comes with Mayfly runs, "
            f"unchanged: {', '.join(names)} does not. {WAY_OUT}"
        )
    out = [name for name in names if name not in runs]
    refused = f" Instances of {', '.join(out)} do not start." if out else ""
    note(
        f"NO SANDBOX: instances of {', '.join(runs) or 'this cloud'} are plain processes of yours and may do all that "
        f"you may ({problems}).{refused} {WAY_OUT}",
        style="bold red",
    )


def comes_with_mayfly(platform: Platform, analysis: str) -> bool:
    """Whether an analysis's environment is one that comes with Mayfly, unchanged."""
    recipe = platform.blueprints[analysis].environment.recipe
    return is_bundled(recipe_digest(platform.project / "blueprints" / analysis / recipe))
