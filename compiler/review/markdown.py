"""A review as a comment on a pull request: Markdown that nobody's text can break out of, within GitHub's limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from compiler.review.report import Review, Verdict
from compiler.review.sections import Section, lay_out, summarise

LIMIT: Final = 65_536
"""Characters of a comment that GitHub takes; counted as bytes here, which are never fewer."""
MARK: Final = "<!-- mayfly-plan -->"
"""First line of the comment, by which the next run finds it and updates it in place."""
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]|~]|^[-+=](?=[-+=\s]|$)|(?<=^\d)[.)](?=\s|$))")
_LIGHTS: Final = {
    Verdict.FAILED: "🔴",
    Verdict.DATA_LOSS: "🔴",
    Verdict.POLICY: "🔴",
    Verdict.WIDER: "🟠",
    Verdict.CHANGES: "🟢",
    Verdict.NOTHING: "⚪",
}
_JOINER: Final = "\u200b"


def render_markdown(review: Review, *, limit: int | None = LIMIT, artefact: str = "the artefact of this run") -> str:
    """Return the comment. The same review gives the same bytes.

    Args:
        review: what is told.
        limit: the most bytes; None for all of it.
        artefact: where the rest is when it does not fit, in words.
    """
    head = [
        MARK,
        f"## {_LIGHTS[review.verdict]} {quote(review.verdict.value)}",
        "",
        f"`{review.deployment}`: {quote(summarise(review))}",
    ]
    if review.secretless:
        head += ["", quote("Planned without credentials: what is really there was not looked at.")]
    tail = [f"\nApproval: `{review.approval}`\n"] if review.approval else []
    page = _Page(limit=limit, used=_size("\n".join(head)) + sum(map(_size, tail)) + 2)
    for section in lay_out(review):
        page.add(section)
    if page.cut:
        tail = [f"\n**{quote(f'This is not all: {page.cut} lines did not fit and are in {artefact}.')}**\n", *tail]
    return "\n".join([*head, *page.parts, *tail]).rstrip() + "\n"


class _Page:
    """Collects parts until the limit; what does not fit is counted."""

    RESERVE: Final = 400
    """Bytes kept for the sentence that says that something is missing."""

    def __init__(self, *, limit: int | None, used: int) -> None:
        self._left = None if limit is None else limit - used - self.RESERVE
        self.parts: list[str] = []
        self.cut = 0

    def add(self, section: Section) -> None:
        opening, lines, closing = _render(section)
        cost = _size("\n".join([*opening, *closing])) + 2
        if self._left is not None and cost > self._left:
            self.cut += len(lines)
            return
        kept = []
        for line in lines:
            size = _size(line) + 1
            if self._left is not None and cost + size > self._left:
                break
            kept.append(line)
            cost += size
        self.cut += len(lines) - len(kept)
        if kept:
            self.parts += ["", *opening, *kept, *closing]
            self._left = None if self._left is None else self._left - cost


def _render(section: Section) -> tuple[list[str], list[str], list[str]]:
    """Return how a section opens, its lines, any number of which may be left out at the end, and how it closes."""
    if section.code:
        fence = "`" * max(3, 1 + max((len(run) for line in section.code for run in re.findall("`+", line)), default=0))
        return (
            ["<details>", f"<summary>{quote_html(section.title)}</summary>", "", f"{fence}diff"],
            [printable(line) for line in section.code],
            [fence, "", "</details>"],
        )
    title = [f"### {'⚠️ ' if section.alarm else ''}{quote(section.title)}", ""]
    if section.rows:
        rows = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in section.rows]
        return [*title, *_table_head(section.columns)], rows, []
    sign = "> - " if section.alarm else "- "
    opening = [*title, "> [!CAUTION]"] if section.alarm else title
    return opening, [sign + quote(line) for line in section.lines], []


def _table_head(columns: tuple[str, ...]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"


def _cell(text: str) -> str:
    """Return a table cell; what AWS calls things stands as code, so that a `*` stays one."""
    plain = printable(text).replace("\n", " ")
    if re.search(r"[*:/]", plain) and " " not in plain.replace(", ", "") and "`" not in plain and "|" not in plain:
        return f"`{plain}`"
    return quote(plain)


def quote(text: str) -> str:
    """Return text that Markdown shows as it is: no mark-up, no HTML, no mention, no link, no second line."""
    plain = " ".join(printable(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = _SPECIAL.sub(r"\\\1", plain)
    for sign in ("@", "#", ":/", "www"):
        plain = plain.replace(sign, f"{sign[0]}{_JOINER}{sign[1:]}")
    return plain


def quote_html(text: str) -> str:
    """Return text that HTML shows as it is."""
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace('"', "&quot;").replace("'", "&#39;")


def printable(text: str) -> str:
    """Return text without control and invisible characters, which could hide or reorder what is read."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _size(text: str) -> int:
    return len(text.encode("utf-8"))
