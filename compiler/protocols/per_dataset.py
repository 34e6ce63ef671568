"""The usual protocol: one task, on one fresh instance, for each dataset; all with the same config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from state.errors import SubmissionError
from state.job import Task
from state.submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A dataset as it was found in its bucket.

    Attributes:
        size: bytes, of all objects together when it is a folder.
        version: ETag; empty for a folder.
    """

    size: int
    version: str = ""


def plan_tasks(submission: Submission, found: Mapping[str, Found]) -> tuple[Task, ...]:
    """Return one task per dataset, numbered in the order of the submission.

    Args:
        submission: what was asked for.
        found: every dataset that exists, by key.

    Raises:
        SubmissionError: no dataset is named, one is missing, or one is named twice and would be paid for twice.
    """
    if not submission.datasets:
        raise SubmissionError("The submission names no dataset. Give at least one key as `dataname`.")
    missing = [key for key in submission.datasets if key not in found]
    if missing:
        listed = ", ".join(missing)
        raise SubmissionError(f"These datasets do not exist: {listed}. Upload them first, or mend `dataname`.")
    twice = sorted({key for key in submission.datasets if submission.datasets.count(key) > 1})
    if twice:
        listed = ", ".join(twice)
        raise SubmissionError(f"These datasets are named more than once: {listed}. Name each once in `dataname`.")
    return tuple(
        Task(number=number, dataset=key, size=found[key].size, version=found[key].version)
        for number, key in enumerate(submission.datasets)
    )
