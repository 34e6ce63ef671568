"""Commands for reviewers: plan what changes, apply exactly what was approved, find drift, take it down."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from compiler.model import Platform
from compiler.review.report import Verdict
from compiler.review.sections import summarise
from mayfly.cli.context import Context
from mayfly.cli.deploy import Deploy, forget_applied
from mayfly.cli.open import cloud_for, deployer, generate, provide_images
from mayfly.cli.output import duration, note, say, show_json
from mayfly.cli.platform import choose, summary
from mayfly.cli.review_show import Format, show_review
from mayfly.cli.review_work import Wanted, drifted, plan_here, plan_nowhere
from mayfly.cli.running import interruptible
from runner.provisioner import ApplySummary
from runner.review.applying import Applying
from runner.review.destroying import Destroying, order
from runner.review.saved import SavedPlans, load_plans
from state.errors import StateError, UsageError
from state.ledger import open_ledger

MIB = 2**20

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
format_option = click.option(
    "--format",
    "form",
    type=click.Choice([one.value for one in Format]),
    default=Format.TERMINAL.value,
    show_default=True,
    help="For a terminal, a comment on a pull request, a program, or a browser.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the whole of it into a file, too."
)
memory_option = click.option(
    "--memory", type=click.IntRange(min=900), default=2048, show_default=True, help="The most memory to use, MiB."
)


@click.command()
@click.argument("roots", nargs=-1)
@click.option("--changed-since", "since", metavar="REV", help="Only the roots that differ from this git revision.")
@click.option("--root", "more", multiple=True, metavar="ROOT", help="A root to plan; may be given again.")
@format_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--policy", is_flag=True, help="Check the policy rules; an error without a waiver fails.")
@out_option
@click.option(
    "--save", type=click.Path(path_type=Path, file_okay=False), help="Keep the plans here for `mayfly apply --saved`."
)
@click.option("--secretless", is_flag=True, help="Without credentials or state: compare the code before and after.")
@memory_option
@click.pass_obj
def plan(
    context: Context,
    *,
    roots: tuple[str, ...],
    since: str | None,
    more: tuple[str, ...],
    form: str,
    as_json: bool,
    policy: bool,
    out: Path | None,
    save: Path | None,
    secretless: bool,
    memory: int,
) -> int:
    """Tell what `mayfly apply` would change, and what that means; changes nothing.

    ROOTS are names like base, analyses/pca or groups/lab1; all of them when none is given. Exits with 1 when a policy
    rule is broken, with 5 when a root cannot be planned.

    \b
    Examples:  mayfly plan
               mayfly plan --changed-since main --policy
               mayfly plan --changed-since main --format markdown --out review.md
               mayfly plan --save plans && mayfly apply --saved plans
    """  # noqa: D301
    if secretless and save:
        raise UsageError("A plan without credentials knows no state, so it cannot be applied: leave out --save.")
    platform = context.platform(ask_aws=not secretless)
    wanted = Wanted(
        roots=choose(platform, (*roots, *more)),
        since=since,
        policy=policy,
        memory=memory * MIB,
        save=save.resolve() if save else None,
        today=datetime.now(UTC).date(),
    )
    with interruptible():
        found = plan_nowhere(context, platform, wanted) if secretless else plan_here(context, platform, wanted)
    show_review(found, Format.JSON if as_json else Format(form), out)
    if found.failed:
        return 5
    return 1 if policy and found.broken else 0


@click.command()
@click.argument("roots", nargs=-1)
@click.option(
    "--saved",
    type=click.Path(path_type=Path, file_okay=False),
    help="Apply the plans that `mayfly plan --save` kept here, and nothing else.",
)
@click.option("--approved", metavar="HASH", default="", help="Refuse saved plans other than those of this approval.")
@click.option("--yes", is_flag=True, help="On AWS: do not ask before changing anything.")
@as_json
@click.pass_obj
def apply(
    context: Context, *, roots: tuple[str, ...], saved: Path | None, approved: str, yes: bool, as_json: bool
) -> None:
    """Bring the platform to what the YAML files say: base first, then analyses and groups.

    On AWS everything is planned and shown first, and exactly those plans are applied. With --saved, plans made earlier
    are applied; a plan whose code or state has changed since is refused. After a failure the same command goes on
    where it stopped. On the embedded cloud the analyses' environments are built and registered, too. ROOTS are names
    like base, analyses/pca or groups/lab1; all of them when none is given.

    \b
    Examples:  mayfly apply
               mayfly apply analyses/pca groups/lab1
               mayfly apply --saved plans --approved sha256:…
    """  # noqa: D301
    if saved and roots:
        raise UsageError("Saved plans are applied as they are: leave out the names of roots.")
    if approved and not saved:
        raise UsageError("--approved goes with --saved.")
    platform = context.platform(ask_aws=True)
    for one in platform.retired:
        note(f"{one.root}: {one.story}")
    wanted = choose(platform, roots)
    embedded = context.is_embedded(platform)
    kept = load_plans(saved.resolve(), platform.deployment.name, approved) if saved else None
    tell: Callable[[str], None] = note if as_json else say
    results: list[object] = []
    with interruptible(), cloud_for(context, platform) as cloud:
        generate(context, platform)
        work = deployer(context, platform, cloud)
        if kept is None and embedded:
            results += work.apply(wanted, lambda result: tell(summary(result)))
        else:
            plans = kept or plan_and_ask(context, platform, wanted, yes=yes)
            results += apply_saved(context, work, plans, tell)
        images = provide_images(context, platform, cloud, note) if embedded else {}
    if as_json:
        show_json({"roots": results, "images": images})


def plan_and_ask(context: Context, platform: Platform, roots: list[str], *, yes: bool) -> SavedPlans:
    """Plan into a folder of the home, show it, and ask. Return the plans."""
    folder = context.home.folder / "plans"
    shutil.rmtree(folder, ignore_errors=True)
    found = plan_here(context, platform, Wanted(roots=roots, save=folder, today=datetime.now(UTC).date()))
    note(found.verdict.value)
    note(summarise(found))
    for loss in found.losses:
        note(loss.text, style="red")
    if found.failed:
        raise StateError("; ".join(f"{one.root}: {one.error}" for one in found.failed))
    if not yes and found.verdict is not Verdict.NOTHING:
        click.confirm(f"Change account {platform.deployment.account}?", abort=True, err=True)
    return load_plans(folder, platform.deployment.name, found.approval)


def apply_saved(
    context: Context, work: Deploy, saved: SavedPlans, tell: Callable[[str], None]
) -> list[dict[str, object]]:
    """Apply saved plans and tell of each root."""
    results: list[dict[str, object]] = []

    def on_result(root: str, done: ApplySummary | None) -> None:
        if done is None:
            tell(f"{root}: applied by an earlier run")
        else:
            work.remember(root)
            figures = f"{done.add} added, {done.change} changed, {done.destroy} destroyed"
            tell(f"{root}: {figures} ({duration(done.seconds)})")
            results.append({"root": root, "add": done.add, "change": done.change, "destroy": done.destroy})

    one = Applying(terraform=work.terraform, backend=work.backend, build=context.build, logs=context.home.logs)
    one.apply(saved, on_result)
    if not saved.plans:
        tell("Nothing to apply: the saved plans change nothing.")
    return results


@click.command()
@click.argument("roots", nargs=-1)
@format_option
@out_option
@memory_option
@click.pass_obj
def drift(context: Context, *, roots: tuple[str, ...], form: str, out: Path | None, memory: int) -> int:
    """Tell what was changed outside Terraform since it was applied; changes nothing. Exits with 1 when something was.

    \b
    Examples:  mayfly drift
               mayfly drift --format markdown --out drift.md
    """  # noqa: D301
    platform = context.platform()
    wanted = Wanted(roots=choose(platform, roots), memory=memory * MIB, today=datetime.now(UTC).date())
    with interruptible():
        found = drifted(plan_here(context, platform, wanted))
    for one in found.plans:
        if one.drift:
            forget_applied(context.backend(platform), one.root)  # so that the next apply puts it back
    show_review(found, Format(form), out)
    if found.failed:
        return 5
    return 1 if found.drift else 0


@click.command()
@click.argument("roots", nargs=-1)
@click.option("--data", is_flag=True, help="The buckets of the analyses, too, WITH ALL DATA in them.")
@click.option("--confirm", metavar="NAME", default="", help="What would be typed: for programs.")
@click.pass_obj
def destroy(context: Context, *, roots: tuple[str, ...], data: bool, confirm: str) -> None:
    """Take the platform down: access, roles, queue and rule. Data stays, unless --data says otherwise.

    Asks for the deployment's name to be typed, and for more when data goes. Refuses while jobs run.

    \b
    Examples:  mayfly destroy
               mayfly destroy groups/lab1
               mayfly destroy --data
    """  # noqa: D301
    platform = context.platform()
    chosen = choose(platform, roots)
    wanted = order(chosen, data=data)
    kept = [root for root in chosen if root not in wanted]
    refuse_running(context)
    for root in wanted:
        note(f"goes:  {root}" + (" WITH ALL DATA" if root.startswith("analyses/") else ""), style="red")
    for root in kept:
        note(f"stays: {root}, its bucket and all data in it")
    name = platform.deployment.name
    expected = f"{name} and all data" if data and any(r.startswith("analyses/") for r in wanted) else name
    typed = confirm or click.prompt(f"Type “{expected}” to go on", default="", show_default=False, err=True)
    if typed.strip() != expected:
        raise UsageError(f"“{expected}” was not typed. Nothing was destroyed.")
    with interruptible(), cloud_for(context, platform) as cloud, tempfile.TemporaryDirectory() as folder:
        generate(context, platform)
        work = deployer(context, platform, cloud)
        one = Destroying(
            terraform=work.terraform,
            backend=work.backend,
            build=context.build,
            work=Path(folder),
            logs=context.home.logs,
        )

        def on_result(root: str, done: ApplySummary) -> None:
            work.forget(root)
            say(f"{root}: {done.destroy} destroyed ({duration(done.seconds)})")

        one.destroy(wanted, on_result)
    if kept:
        say(f"Kept: {', '.join(kept)}.")


def refuse_running(context: Context) -> None:
    """Refuse while jobs run: their machines would lose their roles in the middle.

    Raises:
        StateError: there are such jobs.
    """
    if context.database.startswith("sqlite") and not context.home.ledger.exists():
        return
    ledger = open_ledger(context.database)
    try:
        running = ledger.running()
    finally:
        ledger.engine.dispose()
    if running:
        raise StateError(
            f"{len(running)} jobs run or wait. Cancel them with `mayfly cancel`, or wait. Nothing is destroyed."
        )
