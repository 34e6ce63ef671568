"""The work behind `mayfly plan`: which roots, planned how, compared with what."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from compiler.model import Platform
from compiler.platform import render_platform
from compiler.review.report import Review, review
from compiler.review.rules import check_rules
from compiler.review.values import Action, RootPlan
from compiler.review.waivers import apply_waivers, load_waivers
from mayfly.cli.context import Context
from mayfly.cli.deploy import Deploy
from mayfly.cli.open import cloud_for, deployer, generate, toolchain_of
from mayfly.cli.output import note
from runner.review.planning import BUDGET_BYTES, Planned, Planner, count_lanes
from runner.review.ready import Readier
from runner.review.revision import Revision, affected_roots, read_revision, removed_roots
from runner.review.saved import fingerprint, save_plans, state_identity
from runner.review.secretless import plan_without_secrets, secretless_terraform
from runner.slots import Slots

LOCK_S: Final = 10
"""How long a plan waits for a state that somebody else holds, seconds: its reader waits, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be planned.

    Attributes:
        roots: of these.
        today: decides which waivers have expired.
        since: only those that differ from this revision.
        policy: check the rules.
        memory: the most memory, bytes.
        save: folder that keeps the plans, or None.
    """

    roots: list[str]
    today: date
    since: str | None = None
    policy: bool = False
    memory: int = BUDGET_BYTES
    save: Path | None = None


def plan_here(context: Context, platform: Platform, wanted: Wanted) -> Review:
    """Plan against what is really there."""
    with ExitStack() as stack:
        generate(context, platform)
        files = render_platform(platform)
        before, roots = _choose(context, platform, wanted, files, stack)
        cloud = stack.enter_context(cloud_for(context, platform)) if roots else None
        if cloud is None:
            return _review(context, platform, wanted, [], before)
        work = deployer(context, platform, cloud)
        folder = wanted.save or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mayfly-plans-")))
        terraform = work.terraform.limited(
            Slots(context.terraform_cache / "slots", count_lanes(wanted.memory, len(roots)) + 1),
            lock_timeout_s=LOCK_S,
        )
        ready = Readier(terraform, work.backend)
        planner = Planner(terraform=terraform, ready=ready, plans=folder, memory=wanted.memory)
        done = planner.plan({root: context.build / root for root in roots}, _teller(len(roots)))
        plans = [_look_for_state(one, work) for one in done]
        approval = ""
        if wanted.save is not None and not any(one.error for one in done):
            build = context.build
            codes = {root: fingerprint(build / root, work.backend.settings(root)) for root in roots}
            states = {root: state_identity(terraform, build / root) for root in roots}
            approval = save_plans(folder, platform.deployment.name, done, codes, states).approval
        return _review(context, platform, wanted, plans, before, approval=approval)


def plan_nowhere(context: Context, platform: Platform, wanted: Wanted) -> Review:
    """Plan without credentials, without a state and without looking at anything."""
    with ExitStack() as stack:
        files = render_platform(platform)
        before, roots = _choose(context, platform, wanted, files, stack)
        if not roots:
            return _review(context, platform, wanted, [], before, secretless=True)
        slots = Slots(context.terraform_cache / "slots", count_lanes(wanted.memory, 2 * len(roots)) + 1)
        toolchain = toolchain_of(context, platform)
        plans = plan_without_secrets(
            secretless_terraform(toolchain, platform.deployment.region, slots),
            roots,
            files,
            before.files if before else {},
            work=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mayfly-plans-"))),
            on_result=_teller(len(roots), secretless=True),
            memory=wanted.memory,
        )
        return _review(context, platform, wanted, plans, before, secretless=True)


def drifted(found: Review) -> Review:
    """Return only what a review says about drift: what the code would change is no drift."""
    plans = tuple(RootPlan(root=one.root, drift=one.drift, error=one.error) for one in found.plans)
    return Review(deployment=found.deployment, plans=plans, blueprints={}, groups={})


def _choose(
    context: Context, platform: Platform, wanted: Wanted, files: dict[str, str], stack: ExitStack
) -> tuple[Revision | None, list[str]]:
    """Return the revision that is compared with, and the roots to plan."""
    if wanted.since is None:
        return None, wanted.roots
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mayfly-revision-")))
    before = read_revision(context.project, wanted.since, folder)
    affected = affected_roots(platform, files, before)
    return before, [root for root in wanted.roots if root in affected]


def _teller(total: int, *, secretless: bool = False) -> Callable[[Planned], None]:
    """Return what tells of each root as it is done."""
    done: list[str] = []

    def tell(one: Planned) -> None:
        if one.root.startswith("before/"):
            return
        done.append(one.root)
        if secretless and not one.error:
            note(f"[{len(done)}/{total}] {one.root}: planned")
            return
        plan = one.plan
        made, gone = plan.count(Action.CREATE), plan.count(Action.DELETE)
        changed, anew = plan.count(Action.UPDATE, Action.MOVE, Action.FORGET), plan.count(Action.REPLACE)
        figures = f"{made} to add, {changed} to change, {anew} to replace, {gone} to delete"
        note(f"[{len(done)}/{total}] {one.root}: {one.error or figures}", style="red" if one.error else None)

    return tell


def _look_for_state(one: Planned, work: Deploy) -> RootPlan:
    """Tell when a root's state is missing although what it describes is there: an apply would fail or double it."""
    plan = one.plan
    if one.error or plan.changes == () or plan.count(Action.CREATE) < len(plan.changes) or not work.exists(one.root):
        return plan
    return replace(
        plan,
        note="Its state is missing: what it describes is there already, and the plan makes all of it anew. Bring the "
        "state back (an older version of the object in the state bucket), or import what is there.",
    )


def _review(
    context: Context,
    platform: Platform,
    wanted: Wanted,
    plans: list[RootPlan],
    before: Revision | None,
    *,
    secretless: bool = False,
    approval: str = "",
) -> Review:
    waivers = load_waivers(context.project)
    findings = check_rules(plans, platform, waivers.thresholds) if wanted.policy else ()
    marked, expired = apply_waivers(findings, waivers, wanted.today)
    stories = [one.story for one in platform.retired if one.root in {plan.root for plan in plans}]
    notes = [
        *stories,
        *([before.note] if before and before.note else []),
        *(map(str, expired) if wanted.policy else ()),
    ]
    return review(
        plans,
        platform,
        before.platform if before else None,
        unaffected=len(wanted.roots) - len(plans),
        removed=removed_roots(platform, before) if before else (),
        since=wanted.since or "",
        findings=marked,
        notes=notes,
        secretless=secretless,
        approval=approval,
    )
