"""Jobs for tests: one maker, so that a new field is filled in at one place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from state.job import Hardware, Job, Program, Task
from state.keys import results_of
from state.submission import ObjectVersion

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def a_job(number: int = 0, *, group: str = "lab1", datasets: int = 1, **changes: Any) -> Job:
    """Return an admitted job; another `number` is another job with a result folder of its own."""
    made = Job(
        id=f"pca-{number:012x}",
        analysis="pca",
        analysis_version="v1",
        group=group,
        timestamp=f"t{number}",
        data_bucket="demo-pca",
        config=f"{group}/configs/c.yaml",
        parameters={"n_components": 2, "deep": {"list": [1, 2.5, None, "x"]}},
        results=results_of(bucket="demo-pca", group=group, name="", timestamp=f"t{number}"),
        program=Program(
            iae="d1", command=("venv/bin/python", "files/run.py"), result_limit_bytes=10**9, log_limit_bytes=10**6
        ),
        hardware=Hardware(
            instance_type="m5.large", region="us-east-1", image="ami-1", volume_gb=20, hourly_price=Decimal("0.096")
        ),
        tasks=tuple(
            Task(number=n, dataset=f"{group}/inputs/{chr(97 + n)}.npy", size=3, version="e1") for n in range(datasets)
        ),
        duration_s=3600,
        submitted=NOW,
    )
    return replace(made, **changes)


def a_source(number: int = 0) -> ObjectVersion:
    """Return the submit file of job `number`."""
    return ObjectVersion(bucket="demo-pca", key=f"lab1/submissions/{number}submit.json", version="1")
