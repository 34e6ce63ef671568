"""A review as a page of its own: for the artefact of a run, and for those who do not use a forge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compiler.review.markdown import quote_html
from compiler.review.report import Review
from compiler.review.sections import Section, lay_out, summarise

STYLE: Final = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.alarm{border-left:.4rem solid #b00020;padding-left:1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{border:1px solid #c8ccd0;padding:.3rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
pre{background:#f4f5f7;padding:1rem;overflow-x:auto}
@media (prefers-color-scheme:dark){
body{color:#e6e8ea;background:#15181c}pre{background:#20242a}.alarm{border-color:#ff6b7a}}
"""


def render_html(review: Review) -> str:
    """Return a page without scripts and without anything from elsewhere."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{quote_html(f'{review.deployment}: {review.verdict.value}')}</title><style>{STYLE}</style></head>",
        f"<body><h1>{quote_html(review.verdict.value)}</h1>",
        f"<p><code>{quote_html(review.deployment)}</code>: {quote_html(summarise(review))}</p>",
    ]
    if review.secretless:
        parts.append("<p>Planned without credentials: what is really there was not looked at.</p>")
    for section in lay_out(review):
        parts += _render(section)
    if review.approval:
        parts.append(f"<p>Approval: <code>{quote_html(review.approval)}</code></p>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _render(section: Section) -> Iterator[str]:
    yield f"<section{' class=alarm' if section.alarm else ''}><h2>{quote_html(section.title)}</h2>"
    if section.lines:
        yield f"<ul>{''.join(f'<li>{quote_html(line)}</li>' for line in section.lines)}</ul>"
    if section.rows:
        head = "".join(f"<th>{quote_html(name)}</th>" for name in section.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{quote_html(c)}</td>' for c in row)}</tr>" for row in section.rows)
        yield f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    if section.code:
        code = f"<pre>{quote_html(chr(10).join(section.code))}</pre>"
        yield f"<details><summary>Show</summary>{code}</details>" if section.folded else code
    yield "</section>"
