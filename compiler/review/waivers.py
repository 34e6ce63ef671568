"""Waivers: findings that somebody has accepted, for a reason and for a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from compiler.mistakes import check_shape
from compiler.review.rules import RULES, Finding, Thresholds, rule_by_id
from compiler.source import Document, read_document
from state.errors import Place, SourceError, SourcesError

FILE: Final = "policies/waivers.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One accepted finding.

    Attributes:
        rule: id of the rule.
        reason: why, and who agreed.
        expires: the last day on which it counts.
        place: where it stands.
        root: which roots, a pattern.
        resource: which resources, a pattern.
    """

    rule: str
    reason: str
    expires: date
    place: Place
    root: str = "*"
    resource: str = "*"

    def covers(self, finding: Finding) -> bool:
        """Whether it is about a finding; `[` in an address is only a character."""
        return (
            self.rule == finding.rule
            and fnmatchcase(finding.root, self.root.replace("[", "[[]"))
            and fnmatchcase(finding.resource, self.resource.replace("[", "[[]"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waivers:
    """What policies/waivers.yaml says."""

    waivers: tuple[Waiver, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)


def load_waivers(project: Path) -> Waivers:
    """Return the waivers of a project; none when it has no such file.

    Raises:
        SourcesError: something is wrong with the file; it holds all that is.
    """
    path = project / FILE
    if not path.exists():
        return Waivers()
    document = read_document(path, file=FILE)
    problems = check_shape(document, "waivers")
    if not problems:
        problems = _check_entries(document)
    if problems:
        raise SourcesError(problems)
    data = document.data
    amount = (data.get("thresholds") or {}).get("budget")
    return Waivers(
        waivers=tuple(
            Waiver(
                **{**row, "expires": date.fromisoformat(row["expires"])},
                place=document.place(("waivers", index)),
            )
            for index, row in enumerate(data["waivers"])
        ),
        thresholds=Thresholds(budget=Decimal(str(amount))) if amount is not None else Thresholds(),
    )


def _check_entries(document: Document) -> list[SourceError]:
    found = []
    for index, row in enumerate(document.data["waivers"]):
        if rule_by_id(row["rule"]) is None:
            known = ", ".join(rule.id for rule in RULES)
            found.append(
                document.error(
                    f"there is no rule {row['rule']}.",
                    ("waivers", index, "rule"),
                    rule="unknown-rule",
                    way_out=f"There are: {known}.",
                )
            )
        try:
            date.fromisoformat(row["expires"])
        except ValueError:
            path = ("waivers", index, "expires")
            found.append(
                document.error(
                    f"{row['expires']} is no day of the calendar.",
                    path,
                    rule="date",
                    way_out="Write a day as year, month and day, such as 2026-12-31.",
                )
            )
    return found


def apply_waivers(
    findings: Iterable[Finding], waivers: Waivers, today: date
) -> tuple[tuple[Finding, ...], tuple[SourceError, ...]]:
    """Return the findings with the reasons of their waivers, and a warning for each waiver that has expired."""
    valid = [w for w in waivers.waivers if w.expires >= today]
    marked = tuple(replace(one, waiver=next((w.reason for w in valid if w.covers(one)), "")) for one in findings)
    expired = tuple(
        SourceError(
            f"the waiver of {w.rule} expired on {w.expires}.",
            place=w.place,
            way_out="Mend what it was for, or renew it with a reason.",
        )
        for w in waivers.waivers
        if w.expires < today
    )
    return marked, expired
