"""`mayfly check`: is what the YAML files say right, and is it still what was released?"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import click

from compiler.load import Inspection, inspect_project
from compiler.sarif import sarif
from mayfly.cli.context import Context
from mayfly.cli.output import note, say, show_json
from mayfly.cli.released import read_release
from state.errors import SourceError, UsageError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, for code-scanning pages and editors.")
@click.option("--against", metavar="REV", help="Also hold ids to those of a Git revision, such as the last release.")
@click.pass_obj
def check(context: Context, as_json: bool, as_sarif: bool, against: str | None) -> int:
    """Check blueprints, profiles and mayfly.yaml; nothing is run and nothing is reached for.

    Prints each error and warning as FILE:LINE:COLUMN: FIELD: what is wrong, and the way out. Exits with 3 when there
    is an error.

    \b
    Examples:  mayfly check
               mayfly check --against v1.2.0
               mayfly check --sarif > mayfly.sarif
    """  # noqa: D301
    if as_json and as_sarif:
        raise UsageError("--json and --sarif are two forms of the same answer: choose one.")
    release = read_release(context.project, against) if against else None
    inspection = inspect_project(context.project, release)
    findings = inspection.findings
    if as_sarif:
        show_json(sarif(findings, version=version("mayfly")))
    elif as_json:
        show_json(
            {"errors": [describe(e) for e in findings.errors], "warnings": [describe(w) for w in findings.warnings]}
        )
    else:
        show(inspection)
    return SourceError.exit_code if findings.errors else 0


def show(inspection: Inspection) -> None:
    """Print findings for people, and a last line that says how it stands."""
    errors, warnings = inspection.findings.errors, inspection.findings.warnings
    for error in errors:
        say(str(error), style="red")
    for warning in warnings:
        say(f"{warning} (a warning)", style="yellow")
    platform = inspection.platform
    if platform is None:
        note(f"{counted(len(errors), 'error', 'errors')}, {counted(len(warnings), 'warning', 'warnings')}.")
        return
    verdict = "nothing is wrong" if not warnings else f"no errors, {counted(len(warnings), 'warning', 'warnings')}"
    say(
        f"{counted(len(platform.blueprints), 'analysis', 'analyses')} and "
        f"{counted(len(platform.groups), 'group', 'groups')}: {verdict}."
    )


def describe(error: SourceError) -> dict[str, Any]:
    """Return an error's parts for JSON."""
    place = error.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "field": error.field,
        "rule": error.rule,
        "message": error.message,
        "way_out": error.way_out,
    }


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun."""
    return f"{count} {one if count == 1 else many}"
