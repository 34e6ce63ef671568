from __future__ import annotations

import dataclasses

import pytest

from state.keys import results_of
from state.submission import ObjectVersion, Submission

SOURCE = ObjectVersion(bucket="b", key="lab1/submissions/submit.json", version="v1")


def test_a_submission_is_frozen_and_two_deliveries_of_it_are_equal() -> None:
    def made() -> Submission:
        return Submission(
            source=ObjectVersion(bucket="b", key="lab1/submissions/submit.json", version="v1"),
            group="lab1",
            name="",
            datasets=("lab1/inputs/a.npy",),
            config="lab1/configs/c.yaml",
            timestamp="t1",
            instance_type=None,
            data_bucket="b",
            results=results_of(bucket="b", group="lab1", name="", timestamp="t1"),
        )

    assert made() == made()
    assert hash(made()) == hash(made())
    assert made().source == SOURCE
    assert not made().bypass
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().group = "lab2"  # type: ignore[misc]


def test_versions_tell_uploads_apart() -> None:
    assert dataclasses.replace(SOURCE, version="v2") != SOURCE
