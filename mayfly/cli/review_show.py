"""Shows a review: in the terminal, as Markdown, as a page, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from compiler.review.html import render_html
from compiler.review.markdown import render_markdown
from compiler.review.report import Review, Verdict
from compiler.review.sections import lay_out, summarise
from mayfly.cli.output import plain, say, show_table

ALARMING: Final = {Verdict.DATA_LOSS: "red", Verdict.FAILED: "red", Verdict.POLICY: "red", Verdict.WIDER: "yellow"}


class Format(StrEnum):
    """How a review is shown."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"


def show_review(review: Review, form: Format, out: Path | None) -> None:
    """Print a review; with `out` the whole of it goes into a file, too, where no limit cuts it short."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(_whole(review, form), encoding="utf-8")
    if form is Format.TERMINAL:
        tell(review)
    else:
        # As it is: each renderer has quoted what people wrote.
        sys.stdout.write(render_markdown(review) if form is Format.MARKDOWN else _whole(review, form))


def _whole(review: Review, form: Format) -> str:
    renderers: dict[Format, Callable[[], str]] = {
        Format.HTML: lambda: render_html(review),
        Format.JSON: lambda: json.dumps(describe(review), default=plain, indent=2, ensure_ascii=False) + "\n",
        Format.MARKDOWN: lambda: render_markdown(review, limit=None),
        Format.TERMINAL: lambda: render_markdown(review, limit=None),
    }
    return renderers[form]()


def tell(review: Review) -> None:
    """Print a review for a person at a terminal."""
    say(review.verdict.value, style=f"bold {ALARMING.get(review.verdict, 'green')}")
    say(f"{review.deployment}: {summarise(review)}")
    if review.secretless:
        say("Planned without credentials: what is really there was not looked at.", style="yellow")
    for section in lay_out(review):
        say(f"\n{section.title}", style="bold red" if section.alarm else "bold")
        for line in section.lines:
            say(f"  - {line}")
        if section.rows:
            show_table(section.columns, section.rows, empty="")
        for line in section.code:
            say(f"  {line}")
    if review.approval:
        say(f"\nApproval: {review.approval}")


def describe(review: Review) -> dict[str, Any]:
    """Return a review for programs: the verdict, the figures, and everything that people are told."""
    return {
        "deployment": review.deployment,
        "verdict": review.verdict.name,
        "summary": summarise(review),
        "since": review.since,
        "secretless": review.secretless,
        "approval": review.approval,
        "unaffected": review.unaffected,
        "removed": [{"root": one.root, "keeps_data": not one.purge} for one in review.removed],
        "data_loss": [asdict(one) for one in review.losses],
        "roots": [
            {
                "root": plan.root,
                "error": plan.error,
                "note": plan.note,
                "changes": [
                    {"address": c.address, "action": c.action.value, "forced_by": c.forces, "previous": c.previous}
                    for c in plan.effective
                ],
                "drift": [{"address": c.address, "changed": c.changed()} for c in plan.drift],
            }
            for plan in review.plans
        ],
        "blueprints": review.blueprints,
        "groups": review.groups,
        "platform": review.platform,
        "access": [
            {"address": d.change.address, "added": map_grants(d.added), "removed": map_grants(d.removed)}
            for d in review.access
        ],
        "prices": [{**asdict(one), "delta": one.delta} for one in review.prices],
        "findings": [asdict(one) for one in review.findings],
        "notes": review.notes,
    }


def map_grants(grants: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return grants for JSON."""
    return [asdict(one) for one in grants]
