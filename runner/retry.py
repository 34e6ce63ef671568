"""Doing a job again: a new submission made from the old one, for all of its datasets or only those that failed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from runner.cloud_values import Cloud
from state.chronicle import Chronicle, TaskEnding
from state.errors import JobError
from state.job import Job, JobStatus, Task
from state.keys import SUBMIT, prefix
from state.record import JobRecord


def tasks_to_retry(record: JobRecord, chronicle: Chronicle, *, only_failed: bool) -> tuple[Task, ...]:
    """Return the tasks of a job that a retry does again.

    Raises:
        JobError: the job still runs, was refused, or has no dataset that failed.
    """
    if not record.status.is_final:
        raise JobError(f"Job {record.id} is {record.status}: it can be retried when it has ended.")
    if record.job is None:
        raise JobError(f"Job {record.id} was refused before it began. Mend what its reason says, and submit it anew.")
    if not only_failed:
        return record.job.tasks
    outcomes = chronicle.outcomes(record.id)
    good = {number for number, one in outcomes.items() if one.ending is TaskEnding.SUCCEEDED}
    if record.status is JobStatus.DONE:
        good = {task.number for task in record.job.tasks}
    failed = tuple(task for task in record.job.tasks if task.number not in good)
    if not failed:
        raise JobError(f"No dataset of job {record.id} failed. Without --failed all of them are done again.")
    return failed


def submission_of(job: Job, tasks: tuple[Task, ...], *, bucket: str, timestamp: str) -> dict[str, Any]:
    """Return the submit file that does some tasks of a job again; `bucket` is the analysis's own."""
    datasets = [task.dataset for task in tasks]
    asked: dict[str, Any] = {"timestamp": timestamp}
    if len({way.instance_type for way in job.ways}) == 1:
        asked["instance_type"] = job.ways[0].instance_type
    if job.data_bucket == bucket:
        return asked | {"dataname": datasets, "configname": job.config}
    store = f"s3://{job.data_bucket}/"
    folder = job.results.root.rstrip("/").rpartition("/")[0]
    return asked | {
        "dataname": [store + one for one in datasets],
        "configname": store + job.config,
        "resultpath": f"s3://{job.results.bucket}/{folder}",
    }


def submit_again(cloud: Cloud, job: Job, tasks: tuple[Task, ...], *, bucket: str, now: datetime) -> str:
    """Write the new submit file, as the job's group would; return its key. The platform does the rest."""
    timestamp = f"{job.timestamp[:60]}-retry-{now:%Y%m%dT%H%M%S%f}Z"
    body = submission_of(job, tasks, bucket=bucket, timestamp=timestamp)
    key = f"{prefix(job.group, 'submissions')}{timestamp}/{SUBMIT}"
    text = json.dumps(body, indent=2, sort_keys=True) + "\n"
    cloud.write(bucket, key, text.encode(), content_type="application/json")
    return key
