"""Write the pages that are generated from the code, here and in modules/; `--check` only tells which are stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from language import INTRODUCTIONS, rules_reference, schema_reference

from compiler.review.rules import policy_page
from mayfly.cli.commands import cli
from modules import module_readmes

DOCS = Path(__file__).resolve().parent
WIDTH = 100
HEADER = """\
# Command reference

Generated from the commands themselves by `make docs`; a test keeps it current. For what to use when, see the pages
for [experimentalists](../experimentalists.md), [developers](../developers.md), [infra teams](../infra-teams.md) and
[operators](../operators.md).
"""


def main(arguments: list[str]) -> int:
    """Write the pages, or name those that are stale."""
    reference = {"cli": command_reference(), "rules": rules_reference(), "policies": policy_page()}
    reference |= {name: schema_reference(name) for name in INTRODUCTIONS}
    pages = {DOCS / "reference" / f"{name}.md": text for name, text in reference.items()} | module_readmes()
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)} is not current: run `make docs` and commit it", file=sys.stderr)
        return len(stale)
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


def command_reference() -> str:
    """Return the page of all commands: what `--help` says of each, as a terminal shows it."""
    parts = [HEADER]
    for name, help_text in walk(cli, "mayfly", None):
        level = "##" if name.count(" ") <= 1 else "###"
        parts.append(f"{level} {name}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def walk(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """Yield each visible command's full name and help text, groups before their members."""
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent, terminal_width=WIDTH)
    yield name, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for member in sorted(command.list_commands(context)):
            found = command.get_command(context, member)
            if found is not None and not found.hidden:
                yield from walk(found, f"{name} {member}", context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
