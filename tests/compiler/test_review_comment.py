"""The comment: the same bytes for the same input, within GitHub's limit, and nobody's text breaks out of it."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.blueprint import Choice, Limits, Stage
from compiler.load import load_platform
from compiler.model import Platform, Retired
from compiler.profile import Budget, Group, Member
from compiler.review.html import render_html
from compiler.review.markdown import LIMIT, MARK, quote, render_markdown
from compiler.review.money import compare_prices, save_price
from compiler.review.report import Review, review
from compiler.review.sections import lay_out
from compiler.review.values import RootPlan
from compiler.review.words import describe_blueprints, describe_deployment, describe_groups
from state.errors import Place
from state.vcpus import Family, RegionQuotas
from tests.compiler.plans import a_change, a_plan, a_policy, a_role_policy
from tests.compiler.projects import Project, example_project
from tests.fakes.platform import a_blueprint, a_platform

HOSTILE = "</details> <script>alert(1)</script> @everyone [x](http://evil) ```\n# Approved | a | \u202e #1 `rm`"


def changed(example: Project, **edits: tuple[str, str]) -> tuple[Platform, Platform]:
    """Return the example platform before and after edits of its files."""
    before = load_platform(example.folder)
    after = example_project(example.folder.parent / "after")
    for path, (old, new) in edits.items():
        file = {"pca": "blueprints/pca/blueprint.yaml", "lab1": "users/lab1.yaml", "lab2": "users/lab2.yaml"}[path]
        text = (after.folder / file).read_text()
        assert old in text
        after.write(file, text.replace(old, new))
    return before, load_platform(after.folder)


def test_a_change_of_limits_is_said_in_the_units_of_the_yaml(example: Project) -> None:
    said = describe_blueprints(*changed(example, pca=("duration: 10", "duration: 25")))["pca"]
    assert said[0] == "limits.duration was 10 min and is 25 min."
    assert re.fullmatch(r"Analysis version \w{16} becomes \w{16}: .*", said[1])


def test_machines_and_parameters_have_sentences(example: Project) -> None:
    said = describe_blueprints(*changed(example, pca=("m5.large", "m5.4xlarge")))["pca"]
    assert said[0] == "Its default machine was m5.large (standard) and is m5.4xlarge (standard)."
    example.write("blueprints/pca/blueprint.yaml", (example.folder / "blueprints/pca/blueprint.yaml").read_text())
    said = describe_blueprints(*changed(example, pca=("      default: 2\n", "      default: 3\n")))["pca"]
    assert "The parameter n_components has other rules: its default was 2 and is 3." in said


def test_a_group_that_opts_in_may_now_use_it(example: Project) -> None:
    said = describe_groups(*changed(example, lab2=("  amount: 20\n", "  amount: 90\nanalyses: [pca]\n")))["lab2"]
    assert said == (
        "Its budget was 20 USD monthly and is 90 USD monthly.",
        "Group lab2 may now use pca: send data and jobs, and read its own results.",
    )


def test_people_who_come_and_go_are_named() -> None:
    before = a_platform()
    place = Place(file="x")
    group = Group(id="lab1", title="One", place=place, members=(Member(name="B", email="b@x.org"),), analyses=("pca",))
    after = replace(before, groups={**before.groups, "lab1": group})
    assert describe_groups(before, after) == {"lab1": ("A leaves.", "B joins as member.")}


def test_what_is_removed_says_what_stays() -> None:
    before = a_platform()
    gone = replace(before, blueprints={}, groups={"lab2": before.groups["lab2"]})
    assert "Its bucket demo-pca and all data in it stay." in describe_blueprints(before, gone)["pca"][0]
    assert "lose all access" in describe_groups(before, gone)["lab1"][0]


@pytest.mark.parametrize(
    ("purge", "words", "losses"),
    [(False, "its bucket stays, with all data", 0), (True, "its bucket goes, WITH ALL DATA", 1)],
)
def test_roots_that_are_described_no_more_say_what_becomes_of_them(*, purge: bool, words: str, losses: int) -> None:
    before = a_platform(a_blueprint(purge=purge))
    after = replace(before, blueprints={}, groups={"lab2": before.groups["lab2"]})
    made = review([], after, before, removed=["analyses/pca", "groups/lab1"])
    (section,) = (one for one in lay_out(made) if one.title == "Described no more")
    assert words in section.lines[0]
    assert section.lines[1] == "groups/lab1: the profile of the group 'lab1' is gone: its roles go, its data stays."
    assert len(made.losses) == losses
    assert ("stay" in render_markdown(made).partition("### Described no more")[2].splitlines()[2]) == (not purge)


def test_a_removed_root_that_is_planned_is_none_of_those_left_out() -> None:
    before = a_platform()
    after = replace(before, blueprints={})
    plans = [RootPlan(root="base"), RootPlan(root="analyses/pca")]
    told = review(plans, after, before, removed=["analyses/pca"], unaffected=3 - len(plans), secretless=True)
    assert told.unaffected == 2
    known = replace(after, retired=(Retired(root="analyses/pca", purge=True),))
    told = review(plans, known, before, removed=["analyses/pca"], unaffected=4 - len(plans))
    assert (told.unaffected, told.removed) == (2, known.retired)


def test_a_story_that_is_told_is_no_note() -> None:
    before = a_platform()
    after = replace(before, blueprints={})
    story = Retired(root="analyses/pca", purge=False).story
    assert review([], after, before, removed=["analyses/pca"], notes=[story, "else"]).notes == ("else",)


def test_prices_and_what_budgets_buy() -> None:
    before = a_platform()
    pca = before.blueprints["pca"]
    dearer = replace(pca, resources=(Choice(instance_type="m5.4xlarge"),), limits=Limits(duration_s=1200))
    after = replace(before, blueprints={"pca": dearer})
    (price,) = compare_prices(before, after)
    assert (price.before, price.after) == (Decimal("0.096"), Decimal("0.768"))
    assert (price.job_before, price.job_after) == (Decimal("0.0160"), Decimal("0.2560"))
    assert save_price(price.after) == Decimal("0.3072")
    assert [(r.group, r.before_h, r.after_h) for r in price.reach] == [("lab1", 3125, 390)]
    assert compare_prices(before, before) == ()


def test_changed_quotas_and_prices_are_told_figure_by_figure() -> None:
    before = a_platform()
    quotas = {
        "us-east-1": RegionQuotas(on_demand={Family.G: 64}, spot={Family.G: 8}),
        "eu-west-1": RegionQuotas(total=9),
    }
    prices = {"us-east-1": {"m5.large": Decimal("0.08")}}
    deployment = replace(before.deployment, limits=replace(before.deployment.limits, vcpus=quotas), prices=prices)
    middle = replace(before, deployment=deployment)
    assert describe_deployment(before, middle) == (
        "limits.vcpus.eu-west-1 was nothing and is 9.",
        "limits.vcpus.us-east-1.g was nothing and is 64.",
        "limits.vcpus.us-east-1.spot.g was nothing and is 8.",
        "prices.us-east-1.m5.large was nothing and is 0.08.",
    )
    plain = replace(deployment, limits=replace(deployment.limits, vcpus=128), prices={})
    assert describe_deployment(middle, replace(before, deployment=plain))[0] == "limits.vcpus was nothing and is 128."


def test_prices_of_the_deployment_count_and_an_estimate_is_called_one() -> None:
    before = a_platform()
    own = replace(before.deployment, prices={"us-east-1": {"m5.large": Decimal("0.08")}})
    (price,) = compare_prices(before, replace(before, deployment=own))
    assert (price.before, price.after, price.estimated) == (Decimal("0.096"), Decimal("0.08"), False)
    away = replace(before.blueprints["pca"], resources=(Choice(instance_type="m5.large", region="eu-west-1"),))
    moved = replace(before, blueprints={"pca": away})
    (price,) = compare_prices(before, moved)
    assert (price.after, price.estimated) == (Decimal("0.192"), True)
    rows = [row for section in lay_out(review([], moved, before)) for row in section.rows]
    assert ("pca", "0.096 to 0.192 (estimated)") in [row[:2] for row in rows]


def hostile_review() -> Review:
    before = a_platform()
    blueprint = replace(before.blueprints["pca"], title=HOSTILE, description=HOSTILE, stage=Stage.PRIVATE)
    group = Group(
        id="lab9",
        title=HOSTILE,
        place=Place(file="x"),
        members=(Member(name=HOSTILE, email="x@y.z"),),
        budget=Budget(amount=Decimal(1), currency="USD"),
    )
    lab1 = replace(before.groups["lab1"], members=(Member(name=HOSTILE, email="q@y.z"),))
    after = replace(before, blueprints={"pca": blueprint}, groups={**before.groups, "lab1": lab1, "lab9": group})
    plan = a_plan(
        a_change("aws_s3_bucket", action="delete", before={"bucket": HOSTILE, "tags": {HOSTILE: HOSTILE}}),
        a_change("aws_s3_bucket", "n", after={"bucket": "b", "tags": {HOSTILE: HOSTILE}}),
        a_role_policy(a_policy([HOSTILE], [HOSTILE])),
    )
    failed = RootPlan(root="base", error=HOSTILE)
    return review([plan, failed], after, before, notes=[HOSTILE])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)


def test_hostile_text_stays_text_in_markdown() -> None:
    text = render_markdown(hostile_review())
    outside = re.sub(r"(?ms)^(`{3,})diff\n.*?^\1$", "", text)
    assert "<script" not in outside
    assert outside.count("<details>") == outside.count("</details>") == 1
    assert "@everyone" not in outside
    assert not re.search(r"(?<!\\)\]\(", outside)
    assert "\u202e" not in text
    assert not re.search(r"(?m)^# Approved", text)
    rows = [line for line in outside.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_hostile_text_stays_text_in_html() -> None:
    tags = Tags()
    tags.feed(render_html(hostile_review()))
    assert "script" not in tags.seen
    assert "a" not in tags.seen


@given(st.text())
def test_quoted_text_is_one_line_without_mark_up(text: str) -> None:
    quoted = quote(text)
    assert "\n" not in quoted
    assert "<" not in quoted
    assert not re.search(r"@\w", quoted)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*\[\]|]", quoted)


def test_the_same_input_gives_the_same_bytes() -> None:
    one, other = hostile_review(), hostile_review()
    assert render_markdown(one) == render_markdown(other)
    assert render_html(one) == render_html(other)


def test_it_is_found_again_by_its_first_line() -> None:
    assert render_markdown(review([], a_platform())).startswith(MARK + "\n")


def test_data_loss_comes_first_and_survives_the_limit() -> None:
    rows = [a_change("aws_s3_bucket", f"b{i:04}", after={"bucket": "é" * 200}) for i in range(800)]
    plan = a_plan(a_change("aws_s3_bucket", action="delete", before={"bucket": "precious"}), *rows)
    made = review([plan], a_platform())
    assert lay_out(made)[0].title == "DATA LOSS"
    text = render_markdown(made, artefact="the artefact")
    assert len(text.encode()) <= LIMIT
    assert "The bucket precious is deleted" in text
    assert re.search(r"This is not all: \d+ lines did not fit and are in the artefact", text)
    assert text.count("<details>") == text.count("</details>") == 1
    whole = render_markdown(made, limit=None)
    assert len(whole.encode()) > LIMIT
    assert "This is not all" not in whole


def test_a_secret_reaches_no_format() -> None:
    plan = a_plan(
        a_change(
            "aws_iam_role",
            after={"password": "hunter2-top", "name": "r", "description": "AKIAABCDEFGHIJKLMNOP"},
            after_sensitive={"name": True},
        )
    )
    made = review([plan], a_platform())
    for text in (render_markdown(made, limit=None), render_html(made), repr(made)):
        assert "hunter2" not in text
        assert "AKIA" not in text
        assert '"r"' not in text
