from __future__ import annotations

import pytest

from compiler.protocols.per_dataset import Found, plan_tasks
from state.errors import SubmissionError
from state.job import Task
from state.keys import results_of
from state.submission import Submission
from tests.fakes.jobs import a_source

A, B, FOLDER = "lab1/inputs/a.npy", "lab1/inputs/b.npy", "lab1/inputs/many/"


def a_submission(*datasets: str) -> Submission:
    return Submission(
        source=a_source(),
        group="lab1",
        name="",
        datasets=datasets,
        config="lab1/configs/c.yaml",
        timestamp="t",
        instance_type=None,
        data_bucket="demo-pca",
        results=results_of(bucket="demo-pca", group="lab1", name="", timestamp="t"),
    )


def test_one_task_per_dataset_in_the_order_given() -> None:
    found = {A: Found(size=3, version="e1"), B: Found(size=4, version="e2"), FOLDER: Found(size=9)}
    assert plan_tasks(a_submission(B, FOLDER, A), found) == (
        Task(number=0, dataset=B, size=4, version="e2"),
        Task(number=1, dataset=FOLDER, size=9, version=""),
        Task(number=2, dataset=A, size=3, version="e1"),
    )


@pytest.mark.parametrize(
    ("datasets", "reason"),
    [
        ((), "names no dataset"),
        ((A, B, FOLDER), f"These datasets do not exist: {B}, {FOLDER}. Upload them first"),
        ((A, A), f"named more than once: {A}"),
    ],
)
def test_what_cannot_be_planned_is_told_to_the_user(datasets: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        plan_tasks(a_submission(*datasets), {A: Found(size=3)})
    assert reason in caught.value.reason
