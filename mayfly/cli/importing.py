"""`mayfly import`: what another platform was configured with, as blueprints and profiles of ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click

from compiler.importing.findings import Severity
from compiler.importing.landing import Fate, Landing, plan_landing, write_landing
from compiler.importing.template import MAX_BYTES
from mayfly.cli.context import Context
from mayfly.cli.output import note, say, show_json
from mayfly.cli.platform import as_json
from state.errors import SourceError, UsageError

TEMPLATES = ("stack_config_template.json", "user_config_template.json")
STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: None}


@click.group("import")
def import_() -> None:
    """Bring in what another platform was configured with."""


@import_.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Project folder to write to, this project when not given; made if need be.",
)
@click.option("--force", is_flag=True, help="Write over blueprints and profiles that are there and differ.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be written.")
@as_json
@click.pass_obj
def neurocaas(
    context: Context, *, paths: tuple[Path, ...], out: Path | None, force: bool, dry_run: bool, as_json: bool
) -> int:
    """Turn NeuroCAAS's templates into blueprints and profiles.

    PATHS are stack_config_template.json and user_config_template.json files, or folders to look for them in. Import
    all of them at once: profiles name analyses, and people stand in several files. Blueprints become drafts. What
    cannot be translated is told, file by file and field by field, and kept in a comment. What is written passes
    `mayfly check`; what is there already is kept. Exits with 3 when a file could not be imported.

    \b
    Examples:  mayfly import neurocaas ncap_iac/ncap_blueprints ncap_iac/user_profiles --dry-run
               mayfly import neurocaas stack_config_template.json --out imported
    """  # noqa: D301
    project = out.resolve() if out else context.project
    raw = {str(path): read(path) for path in find_templates(paths)}
    landing = plan_landing(project, raw, force=force)
    if not dry_run:
        write_landing(project, landing)
    if as_json:
        show_json(describe(landing, project, dry_run=dry_run))
    else:
        tell(landing, list(raw), dry_run=dry_run)
    failed = any(one.severity is Severity.ERROR for one in landing.findings)
    return SourceError.exit_code if failed else 0


def find_templates(paths: Sequence[Path]) -> list[Path]:
    """Return the templates at some paths: files as they are given, and those of folders by their names.

    Raises:
        UsageError: a path is not there, or a folder holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(one for name in TEMPLATES for one in path.rglob(name) if one.is_file())
            if not inside:
                raise UsageError(f"{path} holds neither {' nor '.join(TEMPLATES)}. Name the files themselves.")
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise UsageError(f"{path} is not there, or is no file. Name templates, or folders that hold some.")
    return list(found)


def read(path: Path) -> bytes:
    """Return the beginning of a file: one byte more than a template may have says that it is too large."""
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def tell(landing: Landing, files: Sequence[str], *, dry_run: bool) -> None:
    """Print the findings file by file, then what became of each file that was made."""
    for file, findings in groupby(landing.findings, key=lambda one: one.file):
        say(file, style="bold")
        for one in findings:
            where = f"{one.field}: " if one.field else ""
            say(f"  {one.severity}: {where}{one.message} {one.way_out}".rstrip(), style=STYLES[one.severity])
    for unit in landing.imported.units:
        fate = landing.fates[unit.name]
        for path in unit.files:
            say(f"{'would be ' if dry_run and fate in {Fate.WRITTEN, Fate.REPLACED} else ''}{fate}: {path}")
    kept = [unit for unit, fate in landing.fates.items() if fate is Fate.KEPT]
    if kept:
        note(f"{', '.join(kept)}: there already, and different. --force writes over them.", style="yellow")
    counts = {severity: sum(one.severity is severity for one in landing.findings) for severity in Severity}
    say(", ".join([f"{len(files)} files read", *(f"{count} {severity}s" for severity, count in counts.items())]) + ".")


def describe(landing: Landing, project: Path, *, dry_run: bool) -> dict[str, object]:
    """Return the report as JSON shows it."""
    return {
        "project": project,
        "dry_run": dry_run,
        "files": {path: landing.fates[unit.name] for unit in landing.imported.units for path in unit.files},
        "ids": landing.imported.ids,
        "findings": landing.findings,
    }
