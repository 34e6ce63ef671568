"""One review as a value: all that a set of plans and two platforms mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from compiler.model import Platform, Retired
from compiler.review.access import describe_access
from compiler.review.grants import Difference, compare_grants
from compiler.review.loss import Loss, find_losses
from compiler.review.money import PriceChange, compare_prices
from compiler.review.rules import Finding, Severity
from compiler.review.values import Action, Change, RootPlan
from compiler.review.words import Sentences, describe_blueprints, describe_deployment, describe_groups


class Verdict(StrEnum):
    """The one line that a reviewer reads first; the worst that applies."""

    FAILED = "FAILED: some roots could not be planned"
    DATA_LOSS = "DATA LOSS: read what follows before you approve"
    POLICY = "POLICY: a rule is broken and nobody has said why"
    WIDER = "ACCESS WIDENS: somebody may do more than before"
    CHANGES = "Changes, none of which loses data or widens access"
    NOTHING = "Nothing changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a reviewer is told.

    Attributes:
        deployment: its name.
        plans: of the affected roots, in the order in which they would be applied.
        unaffected: how many roots the change does not touch.
        removed: roots that the YAML no longer describes, and whether what they made goes with them.
        since: the revision that is compared with, or empty.
        losses: everything that may lose data.
        blueprints: sentences by id of the analysis.
        groups: sentences by id of the group.
        platform: sentences on the deployment as a whole.
        access: grants that change.
        prices: prices that change.
        findings: of the policy rules.
        notes: what else must be known, such as waivers that expired.
        secretless: whether it was planned without credentials, so without looking at what is really there.
        approval: the hash that stands for exactly these saved plans, or empty.
    """

    deployment: str
    plans: tuple[RootPlan, ...]
    unaffected: int = 0
    removed: tuple[Retired, ...] = ()
    since: str = ""
    losses: tuple[Loss, ...] = ()
    blueprints: dict[str, Sentences]
    groups: dict[str, Sentences]
    platform: Sentences = ()
    access: tuple[Difference, ...] = ()
    prices: tuple[PriceChange, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: Sentences = ()
    secretless: bool = False
    approval: str = ""

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes that do something, root by root."""
        return tuple(change for plan in self.plans for change in plan.effective)

    @property
    def replaced(self) -> tuple[Change, ...]:
        """Resources that are made anew."""
        return tuple(change for change in self.changes if change.action is Action.REPLACE)

    @property
    def drift(self) -> tuple[Change, ...]:
        """What was changed behind Terraform's back."""
        return tuple(change for plan in self.plans for change in plan.drift)

    @property
    def failed(self) -> tuple[RootPlan, ...]:
        """Roots without a plan."""
        return tuple(plan for plan in self.plans if plan.error)

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Policy errors that no waiver covers."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR and not f.waiver)

    @property
    def verdict(self) -> Verdict:
        """The worst that can be said."""
        said = self.blueprints or self.groups or self.platform or self.removed
        ranked = (
            (self.losses, Verdict.DATA_LOSS),
            (self.failed, Verdict.FAILED),
            (self.broken, Verdict.POLICY),
            (any(d.added or d.unknown for d in self.access), Verdict.WIDER),
            (self.changes or said, Verdict.CHANGES),
        )
        return next((verdict for applies, verdict in ranked if applies), Verdict.NOTHING)


def review(
    plans: Iterable[RootPlan],
    platform: Platform,
    before: Platform | None = None,
    *,
    unaffected: int = 0,
    removed: Iterable[str] = (),
    since: str = "",
    findings: Iterable[Finding] = (),
    notes: Iterable[str] = (),
    secretless: bool = False,
    approval: str = "",
) -> Review:
    """Return what plans and platforms mean.

    Args:
        plans: of the affected roots, in order.
        platform: what the YAML says now.
        before: what it said before; None when nobody asked or when it could not be read.
        unaffected: how many roots there are more than plans.
        removed: roots that are described no more.
        since: the revision of `before`.
        findings: of the policy rules, with waivers.
        notes: what else must be known.
        secretless: planned without credentials.
        approval: hash of the saved plans.
    """
    known = tuple(plans)
    gone = tuple(_retired(root, platform, before) for root in removed)
    told = {one.story for one in gone}
    access = tuple(d for plan in known for d in compare_grants(plan.changes))
    losses = [loss for plan in known for loss in find_losses(plan.effective)]
    blueprints = describe_blueprints(before, platform) if before else {}
    groups = describe_groups(before, platform) if before else {}
    said = describe_access(access, platform)
    for group, sentences in said.items():
        if group:
            groups[group] = (*groups.get(group, ()), *sentences)
    if before is not None:
        losses += [
            Loss(
                root=f"analyses/{b.id}", address="", text=f"The bucket {before.bucket(b.id)} goes with ALL DATA in it."
            )
            for b in before.blueprints.values()
            if b.purge and b.id not in platform.blueprints and b.id not in _heirs(platform)
            if not any(loss.root == f"analyses/{before.birth_id(b.id)}" for loss in losses)
        ]
    return Review(
        deployment=platform.deployment.name,
        plans=known,
        unaffected=unaffected + _beyond(known, gone, platform),
        removed=gone,
        since=since,
        losses=tuple(losses),
        blueprints=blueprints,
        groups=dict(sorted(groups.items())),
        platform=(*(describe_deployment(before, platform) if before else ()), *said.get("", ())),
        access=access,
        prices=compare_prices(before, platform) if before else (),
        findings=tuple(findings),
        notes=tuple(note for note in notes if note not in told),
        secretless=secretless,
        approval=approval,
    )


def _beyond(plans: Iterable[RootPlan], gone: Iterable[Retired], platform: Platform) -> int:
    """Count the plans of roots that no file describes: they are not among those that could have been left out."""
    beyond = {one.root for one in gone} - {one.root for one in platform.retired}
    return sum(1 for plan in plans if plan.root in beyond)


def _retired(root: str, platform: Platform, before: Platform | None) -> Retired:
    """Return a root that is described no more, with what its state, else its blueprint, says of its data."""
    if applied := next((one for one in platform.retired if one.root == root), None):
        return applied
    kind, _, name = root.partition("/")
    blueprint = before.born_as(name) if before and kind == "analyses" else None
    return Retired(root=root, purge=blueprint is not None and blueprint.purge)


def _heirs(platform: Platform) -> set[str]:
    """Return the ids that analyses had before they were renamed."""
    return {b.renamed_from for b in platform.blueprints.values() if b.renamed_from}
