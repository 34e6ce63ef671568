"""The documentation keeps its word: links lead somewhere, commands and targets exist, generated pages are current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mayfly.cli.commands import cli

PROJECT = Path(__file__).parent.parent
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"(?ms)^```.*?^```")
CODE = re.compile(r"(?ms)^```(?:sh|console|text)?\n(.*?)^```|`([^`\n]+)`")


def page_id(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get on the usual forges."""
    headings = re.findall(r"(?m)^#+ +(.+)$", FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def commands_in(page: Path, program: str) -> Iterator[str]:
    """Every line of code, in a block or in a sentence, that starts with the program."""
    for block, span in CODE.findall(page.read_text()):
        for line in (block or span).splitlines():
            words = line.strip().removeprefix("$ ")
            if words.startswith(program + " "):
                yield words


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_internal_links_resolve(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page_id(page)}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{page_id(page)}: {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_mentioned_exists(page: Path) -> None:
    for line in commands_in(page, "mayfly"):
        words = [word for word in shlex.split(line, comments=True)[1:] if not word.startswith("-")]
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            found = command.get_command(click.Context(command), words[0])
            if found is None and words[0].isupper():  # `mayfly COMMAND --help`
                break
            assert found is not None, f"{page_id(page)}: `{line}`: no such command"
            command, words = found, words[1:]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_option_mentioned_exists(page: Path) -> None:
    known = {option for command in walk(cli) for parameter in command.params for option in parameter.opts}
    for line in commands_in(page, "mayfly"):
        options = {word.split("=")[0] for word in shlex.split(line, comments=True) if re.match(r"-[-a-z]", word)}
        unknown = options - known - {"--help", "-h"}
        assert not unknown, f"{page_id(page)}: `{line}`: no such option {unknown}"


def walk(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for member in command.commands.values():
            yield from walk(member)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_mentioned_exists(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (PROJECT / "Makefile").read_text()))
    for line in commands_in(page, "make"):
        words = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word and word.isascii()]
        for target in words[:1]:
            assert target in targets, f"{page_id(page)}: `{line}`: no such target"


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        if page.suffix == ".md":
            links = (link.split("#")[0] for link in LINK.findall(FENCE.sub("", page.read_text())))
            waiting += [(page.parent / link).resolve() for link in links if link and "://" not in link]
    assert not set(PAGES) - seen, f"no link leads to {[page_id(p) for p in set(PAGES) - seen]}"


def test_every_command_is_helped_and_documented() -> None:
    for command in walk(cli):
        assert command.help, f"{command.name}: no help text"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{command.name} {parameter.opts[0]}: no help text"


def test_generated_pages_are_current() -> None:
    command = [sys.executable, PROJECT / "docs" / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
