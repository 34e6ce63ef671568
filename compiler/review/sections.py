"""A review laid out for people: sections of sentences, tables and code, in the order in which they matter.

Plain text only: each renderer quotes it for its own format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from compiler.review.grants import Difference, Grant
from compiler.review.money import PriceChange, save_price
from compiler.review.report import Review
from compiler.review.rules import rule_by_id
from compiler.review.values import Action, Change, RootPlan

SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
    Action.FORGET: "forget",
    Action.MOVE: "move",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report.

    Attributes:
        title: its heading.
        lines: sentences.
        columns: heading of a table, or empty.
        rows: of the table.
        code: lines of code, or none.
        alarm: whether it must be seen.
        folded: whether it is closed at first.
    """

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    code: tuple[str, ...] = ()
    alarm: bool = False
    folded: bool = False


def lay_out(review: Review) -> tuple[Section, ...]:
    """Return the sections of a review; those with nothing in them are left out."""
    return tuple(s for s in _sections(review) if s.lines or s.rows or s.code)


def summarise(review: Review) -> str:
    """Return the figures in a line."""
    counts = [(a, sum(1 for c in review.changes if c.action is a)) for a in SIGNS]
    words = {
        Action.CREATE: "to add",
        Action.UPDATE: "to change",
        Action.REPLACE: "to replace",
        Action.DELETE: "to delete",
        Action.FORGET: "to forget and keep",
        Action.MOVE: "moved",
    }
    figures = ", ".join(f"{count} {words[action]}" for action, count in counts if count) or "nothing to do"
    roots = f"{len(review.plans)} {'root' if len(review.plans) == 1 else 'roots'} planned"
    rest = f", {review.unaffected} not affected" if review.unaffected else ""
    since = f" since {review.since}" if review.since else ""
    return f"{roots}{rest}{since}: {figures}."


def _sections(review: Review) -> Iterator[Section]:
    losses = tuple(f"{loss.text} [{loss.root}]" for loss in review.losses)
    yield Section(title="DATA LOSS", lines=losses, alarm=True)
    errors = tuple(f"{plan.root}: {plan.error}" for plan in review.failed)
    yield Section(title="Not planned", lines=errors, alarm=True)
    yield _policy(review)
    for name, said in review.blueprints.items():
        yield Section(title=f"Analysis {name}", lines=tuple(f"{name} {s}" if s[0].islower() else s for s in said))
    for name, said in review.groups.items():
        yield Section(title=f"Group {name}", lines=tuple(f"{name} {s}" if s[0].islower() else s for s in said))
    yield Section(title="The platform", lines=review.platform)
    yield _access(review)
    yield from _prices(review.prices)
    yield Section(
        title="Replaced",
        lines=tuple(
            f"{c.root}: {c.address} is made anew, forced by {', '.join(c.forces) or 'something that is not told'}."
            for c in review.replaced
        ),
    )
    yield Section(title="Described no more", lines=tuple(f"{one.root}: {one.story}." for one in review.removed))
    yield Section(
        title="Drift",
        lines=tuple(
            f"{c.root}: {c.address} {_drifted(c)} outside Terraform. An apply puts it back." for c in review.drift
        ),
    )
    yield Section(title="Notes", lines=(*(f"{p.root}: {p.note}" for p in review.plans if p.note), *review.notes))
    code = tuple(line for plan in review.plans for line in _plan_lines(plan))
    yield Section(title="The whole plan", code=code, folded=True)


def _policy(review: Review) -> Section:
    rows = []
    for finding in review.findings:
        rule = rule_by_id(finding.rule)
        rows.append(
            (
                finding.rule,
                "waived" if finding.waiver else finding.severity.value,
                "/".join(filter(None, [finding.root, finding.resource])),
                finding.text + (f" Waived: {finding.waiver}" if finding.waiver else f" {rule.way_out if rule else ''}"),
            )
        )
    return Section(title="Policy", columns=("rule", "", "where", "what"), rows=tuple(rows), alarm=bool(review.broken))


def _drifted(change: Change) -> str:
    if change.action is Action.DELETE:
        return "was deleted"
    return f"was changed ({', '.join(change.changed()) or 'no attribute that is shown'})"


def _access(review: Review) -> Section:
    rows = (
        *_access_rows(review.access),
        *((d.change.address, "known only after the apply", "", "", "LOOK") for d in review.access if d.unknown),
    )
    return Section(
        title="Access (IAM), before and after: - goes, + comes",
        columns=("who", "resource", "before", "after", ""),
        rows=rows,
    )


def _access_rows(differences: Iterable[Difference]) -> Iterator[tuple[str, ...]]:
    """Yield a row per holder, resource and condition, with all that is allowed there; wider ones are marked."""
    known = list(differences)
    added, removed = {g for d in known for g in d.added}, {g for d in known for g in d.removed}
    before, after = {g for d in known for g in d.before}, {g for d in known for g in d.after}
    for place in sorted({grant.place for grant in added | removed}):
        holder, resource, condition = place
        when = f" when {condition}" if condition else ""
        yield (
            holder,
            resource + when,
            _actions(before, removed, place, "-"),
            _actions(after, added, place, "+"),
            "WIDER" if any(grant.place == place for grant in added) else "narrower",
        )


def _actions(grants: set[Grant], marked: set[Grant], place: tuple[str, str, str], sign: str) -> str:
    """Return the actions that are allowed in a place; those that come or go carry a sign."""
    found = (f"{sign if one in marked else ''}{one.action}" for one in sorted(grants) if one.place == place)
    return ", ".join(found) or "nothing"


def _prices(prices: tuple[PriceChange, ...]) -> Iterator[Section]:
    rows = [
        (
            one.analysis,
            f"{_usd(one.before)} to {_usd(one.after)}" + (" (estimated)" if one.estimated else ""),
            f"{_usd(save_price(one.before))} to {_usd(save_price(one.after))}",
            f"{one.delta:+f}" if one.delta else "none",
            f"{_usd(one.job_before)} to {_usd(one.job_after)}",
        )
        for one in prices
    ]
    yield Section(
        title="Cost, USD for an hour of one machine",
        columns=("analysis", "standard", "save (estimate)", "change", "a job of default duration, standard"),
        rows=tuple(rows),
    )
    yield Section(
        title="What budgets buy",
        columns=("group", "budget", "analysis", "machine hours before", "after"),
        rows=tuple(
            (r.group, r.budget, one.analysis, _hours(r.before_h), _hours(r.after_h))
            for one in prices
            for r in one.reach
        ),
    )


def _usd(amount: Decimal | None) -> str:
    return "none" if amount is None else f"{amount:f}"


def _hours(hours: int | None) -> str:
    return "none" if hours is None else str(hours)


def _plan_lines(plan: RootPlan) -> Iterator[str]:
    """Yield a plan as lines like Terraform's own, whose first character tells the kind of change."""
    if not plan.effective:
        return
    yield f"# {plan.root}"
    for change in plan.effective:
        note = f" (was {change.previous})" if change.previous else ""
        forced = f" (forced by {', '.join(change.forces)})" if change.forces else ""
        yield f"{SIGNS[change.action]} {change.address}{note}{forced}"
        if change.action is Action.DELETE:
            continue
        for name in change.changed():
            old, new = change.before.get(name), change.after.get(name)
            if change.action is Action.CREATE:
                if name in change.after and new not in (None, [], {}, ""):
                    yield f"+     {name} = {_json(new)}"
            else:
                yield from _attribute(name, old, "(known after apply)" if name in change.unknown else new)
    yield ""


def _attribute(name: str, old: object, new: object) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield from _attribute(f"{name}.{key}", old.get(key), new.get(key))
        return
    yield f"-     {name} = {_json(old)}"
    yield f"+     {name} = {_json(new)}"


def _json(value: object) -> str:
    """Return a value on one line, in ASCII: nothing that a person wrote can look like a line of its own."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)
