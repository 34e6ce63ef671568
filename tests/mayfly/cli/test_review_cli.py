"""The commands of reviewers refuse what makes no sense before they start anything, and show a review in every form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.review.report import Review, review
from mayfly.cli.main import run
from mayfly.cli.review_show import Format, show_review
from mayfly.cli.review_work import drifted
from tests.compiler.plans import a_change, a_plan, a_policy, a_role_policy
from tests.compiler.projects import small_project
from tests.fakes.platform import a_platform


@pytest.fixture
def project(tmp_path: Path) -> str:
    return str(small_project(tmp_path / "project").folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--secretless", "--save", "x"], "leave out --save"),
        (["plan", "analyses/none"], "There is no root analyses/none"),
        (["apply", "--approved", "sha256:0"], "--approved goes with --saved"),
        (["apply", "base", "--saved", "x"], "leave out the names of roots"),
        (["apply", "--saved", "nowhere"], "holds no saved plans"),
        (["destroy", "--confirm", "yes"], "was not typed. Nothing was destroyed"),
        (["destroy", "--data", "--confirm", "demo"], "“demo and all data” was not typed"),
    ],
)
def test_what_makes_no_sense_is_refused(
    project: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--project", project, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_destroy_says_what_stays(project: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["--project", project, "destroy", "--confirm", "no"])
    said = capsys.readouterr().err
    assert "stays: analyses/tiny, its bucket and all data in it" in said
    assert "goes:  groups/lab1" in said
    run(["--project", project, "destroy", "--data", "--confirm", "no"])
    assert "goes:  analyses/tiny WITH ALL DATA" in capsys.readouterr().err


@pytest.fixture
def made() -> Review:
    bucket = {"bucket": "demo-pca", "tags": {"a": "1"}}
    drift = a_change("aws_s3_bucket", action="update", before=bucket, after={**bucket, "tags": {}})
    planned = a_change("aws_s3_bucket", action="update", before={**bucket, "tags": {}}, after=bucket)
    plan = a_plan(planned, a_role_policy(a_policy(["s3:GetObject"], "arn:aws:s3:::demo-pca/*")), drift=(drift,))
    return review([plan], a_platform(), a_platform(), unaffected=3, since="main", approval="sha256:1")


@pytest.mark.parametrize("form", list(Format))
def test_every_form_says_it(made: Review, form: Format, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_review(made, form, tmp_path / "deep" / "out")
    said = capsys.readouterr().out
    for text in (said, (tmp_path / "deep" / "out").read_text()):
        assert "sha256:1" in text
        assert "aws_s3_bucket" in text.replace("\\_", "_")
    if form is Format.JSON:
        assert json.loads(said)["verdict"] == "WIDER"


def test_drift_alone_is_shown_without_what_the_code_changes(made: Review) -> None:
    alone = drifted(made)
    assert [one.changed() for one in alone.drift] == [("tags",)]
    assert alone.changes == ()
    assert alone.access == ()
