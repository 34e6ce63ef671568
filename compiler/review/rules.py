"""The policy rules: what no plan may do without somebody having said why.

Each rule is a row of RULES; docs/reference/policies.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from compiler.blueprint import Stage
from compiler.deployment import CloudKind
from compiler.model import Platform
from compiler.profile import Period
from compiler.review import rules_access, rules_data
from compiler.review.values import Change, RootPlan

DOC: Final = "docs/reference/policies.md"


class Severity(StrEnum):
    """Whether `plan --policy` fails because of a finding."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where a rule is broken.

    Attributes:
        rule: the rule's id.
        severity: of the rule.
        root: the root, or empty for the YAML as a whole.
        resource: the resource's address, or the id of the analysis or group.
        text: what is wrong, a sentence.
        waiver: the reason of the waiver that covers it, or empty.
    """

    rule: str
    severity: Severity
    root: str
    resource: str
    text: str
    waiver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Figures that rules compare with: a group's budget in a month, USD."""

    budget: Decimal = Decimal(5000)


PlanCheck = Callable[[RootPlan], Iterator[tuple[Change, str]]]
PlatformCheck = Callable[[Platform, Thresholds], Iterator[tuple[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: never changes.
        title: in words.
        severity: error or warning.
        why: what can go wrong otherwise.
        way_out: what to do instead.
        plan: finds resources of a plan that break it.
        platform: finds analyses and groups that break it.
    """

    id: str
    title: str
    severity: Severity
    why: str
    way_out: str
    plan: PlanCheck | None = None
    platform: PlatformCheck | None = None

    @property
    def page(self) -> str:
        """Where the rule is explained."""
        return f"{DOC}#{self.id.lower()}"


def check_rules(
    plans: Iterable[RootPlan], platform: Platform, thresholds: Thresholds | None = None
) -> tuple[Finding, ...]:
    """Return everything that breaks a rule, errors first, then by rule, root and resource."""
    known = tuple(plans)
    found = [
        Finding(rule=rule.id, severity=rule.severity, root=plan.root, resource=change.address, text=text)
        for rule in RULES
        if rule.plan is not None
        for plan in known
        for change, text in rule.plan(plan)
    ]
    found += [
        Finding(rule=rule.id, severity=rule.severity, root="", resource=name, text=text)
        for rule in RULES
        if rule.platform is not None
        for name, text in rule.platform(platform, thresholds or Thresholds())
    ]
    return tuple(sorted(set(found), key=lambda f: (f.severity.value, f.rule, f.root, f.resource, f.text)))


def _unpinned_images(platform: Platform, _thresholds: Thresholds) -> Iterator[tuple[str, str]]:
    if platform.deployment.cloud is not CloudKind.AWS:
        return  # the embedded cloud builds every image from its locked recipe
    for blueprint in platform.blueprints.values():
        if blueprint.stage is Stage.DRAFT:
            continue
        for region in sorted({choice.region or platform.deployment.region for choice in blueprint.resources}):
            image = blueprint.environment.image.get(region, "")
            if not image.startswith("ami-"):
                what = f"names {image!r}" if image else "names none"
                yield blueprint.id, f"runs in {region}, and its environment.image {what} there: no AMI is pinned."


def _large_budgets(platform: Platform, thresholds: Thresholds) -> Iterator[tuple[str, str]]:
    for group in platform.groups.values():
        amount, period = group.budget.amount, group.budget.period
        monthly = amount / 12 if period is Period.YEARLY else amount
        if monthly > thresholds.budget:
            budget = f"{amount} {group.budget.currency} {period.value}"
            yield group.id, f"has a budget of {budget}, more than {thresholds.budget} in a month."


RULES: Final = (
    Rule(
        id="MF001",
        title="No wildcard actions",
        severity=Severity.ERROR,
        why="`*`, `s3:*` and `s3:Get*` allow what nobody thought of, now and whenever AWS adds an action. "
        "Only `Describe*` and `List*` show what there is and no more.",
        way_out="List the actions that are used.",
        plan=rules_access.wildcard_actions,
    ),
    Rule(
        id="MF002",
        title="No public access",
        severity=Severity.ERROR,
        why="A group's data must never be readable by the world: one policy, one ACL or a missing block is enough.",
        way_out="Name principals, or a condition that says who calls (aws:SourceArn, aws:PrincipalOrgID …); keep the "
        "public access block with all four settings on.",
        plan=rules_access.public_access,
    ),
    Rule(
        id="MF003",
        title="Everything is encrypted at rest",
        severity=Severity.ERROR,
        why="Disks and buckets outlive the person who knows what is on them.",
        way_out="Give the bucket a server-side encryption configuration, the queue managed SSE, the disk `encrypted`.",
        plan=rules_data.missing_encryption,
    ),
    Rule(
        id="MF004",
        title="No bucket is destroyed",
        severity=Severity.ERROR,
        why="Versioning does not survive its bucket: what was in it cannot be brought back.",
        way_out="Leave `purge` off: a removed analysis keeps its bucket. Or write a waiver that says who agreed.",
        plan=rules_data.bucket_destroy,
    ),
    Rule(
        id="MF005",
        title="Everything is tagged",
        severity=Severity.WARNING,
        why="The sweep by tag that finds leaked resources, and the bill, know only what carries the tags.",
        way_out="Give it `mayfly:deployment` and `mayfly:managed-by`.",
        plan=rules_data.untagged,
    ),
    Rule(
        id="MF006",
        title="PassRole is narrow",
        severity=Severity.ERROR,
        why="Who may pass any role to a machine may do what that role may: it is a way up.",
        way_out="Name the roles by the deployment's prefix, and the service in a condition on iam:PassedToService.",
        plan=rules_access.wide_pass_role,
    ),
    Rule(
        id="MF007",
        title="No open ingress",
        severity=Severity.ERROR,
        why="Nothing in Mayfly listens: a machine fetches its work. A port that is open to the world is a mistake.",
        way_out="Remove the rule, or name the addresses.",
        plan=rules_access.open_ingress,
    ),
    Rule(
        id="MF008",
        title="Images are pinned",
        severity=Severity.ERROR,
        why="An analysis that runs on whatever image is newest cannot be repeated.",
        way_out="Bake the image and write its id into `environment.image`, or set `stage: draft`.",
        plan=rules_data.unpinned_images,
        platform=_unpinned_images,
    ),
    Rule(
        id="MF009",
        title="Budgets stay below the threshold",
        severity=Severity.ERROR,
        why="A zero too many in a budget is found by the bill otherwise.",
        way_out="Lower it, raise `thresholds.budget` in policies/waivers.yaml, or write a waiver.",
        platform=_large_budgets,
    ),
    Rule(
        id="MF010",
        title="Policies can be read before they are applied",
        severity=Severity.ERROR,
        why="A policy that waits for an ARN is not known when it is planned: no reviewer and no rule can look at it.",
        way_out="Compose the ARN of partition, region, account and name, as the modules here do.",
        plan=rules_access.unread_policies,
    ),
)


def rule_by_id(name: str) -> Rule | None:
    """Return a rule; None when there is none of that id."""
    return next((rule for rule in RULES if rule.id == name), None)


def policy_page() -> str:
    """Return the reference of all rules, Markdown."""
    rows = (f"## {r.id}\n\n**{r.title}** ({r.severity.value}). {r.why}\n\n{r.way_out}\n" for r in RULES)
    return "\n".join([_PAGE, *rows])


_PAGE: Final = """\
# Policy reference

Generated from the rules themselves by `make docs`. `mayfly plan --policy` checks every resource of the roots it plans,
and the YAML; it exits with 1 when an error has no waiver.

A waiver stands in `policies/waivers.yaml`, needs a reason, and ends:

```yaml
# yaml-language-server: $schema=../compiler/schema/waivers.schema.json
thresholds:
  budget: 5000 # USD a month
waivers:
  - rule: MF004
    root: analyses/old
    resource: module.analysis.aws_s3_bucket.data
    reason: Lab 7 has its data at home; Dr. Example agreed on 2026-11-02.
    expires: 2026-12-31
```

`root` and `resource` may hold `*`; without them all are meant. On the day it expires a waiver still counts.
"""
