"""Before the machines go: is everything there that they said they uploaded, byte for byte?"""

from __future__ import annotations

import hashlib
import logging

from runner.cloud_values import Cloud
from runner.monitor import Signs
from state.errors import CloudError
from state.job import Job, TaskStatus

READ_AGAIN = 64 * 1024 * 1024
"""Bytes up to which a file is read again when the store does not tell a checksum of its own."""

log = logging.getLogger(__name__)


def check_results(cloud: Cloud, job: Job, all_signs: list[Signs]) -> dict[int, tuple[str, ...]]:
    """Return the result files that were reported and are not in the bucket as they were, by task, with what is wrong.

    Every file must be there with its size, and the same bytes: the store's checksum of the whole object is compared
    with the agent's; where the store has none, a small file is read again.
    """
    there = {one.key: one.size for one in cloud.list(job.results.bucket, job.results.results)}
    found: dict[int, tuple[str, ...]] = {}
    for signs in all_signs:
        report = signs.report or {}
        outputs = report.get("outputs")
        if report.get("status") != TaskStatus.SUCCESS or not isinstance(outputs, list):
            continue
        folder = job.results_folder(signs.task)
        wrong = [
            f"{folder}{output.get('path')}".removeprefix(job.results.results) + why
            for output in outputs
            if (why := _problem(cloud, job, f"{folder}{output.get('path')}", output, there)) is not None
        ]
        if wrong:
            found[signs.task.number] = tuple(wrong)
    return found


def _problem(cloud: Cloud, job: Job, key: str, output: dict[str, object], there: dict[str, int]) -> str | None:
    """Return what is wrong with one file, empty when it is not there, None when it is good."""
    if key not in there:
        return ""
    if there[key] != output.get("size"):
        return f" ({there[key]} instead of {output.get('size')} bytes)"
    crc32, sha256 = output.get("crc32"), output.get("sha256")
    known = cloud.checksum(job.results.bucket, key) if crc32 else None
    if known is not None:
        return None if known == crc32 else " (its checksum is another)"
    if sha256 and there[key] <= READ_AGAIN:
        body = cloud.read(job.results.bucket, key)
        return None if hashlib.sha256(body).hexdigest() == sha256 else " (its content is another)"
    return None


def keep_console(cloud: Cloud, job: Job, signs: Signs) -> str:
    """Keep what the instance of a silent task printed, and return it: it is all there is to understand it by."""
    if signs.instance is None:
        return ""
    try:
        text = cloud.console(signs.instance.id)
        if text:
            cloud.write(job.results.bucket, job.results.console(signs.task.number), text.encode())
    except CloudError as error:  # help, not a duty: the job ends all the same
        log.warning("job %s: the console of %s was not kept: %s", job.id, signs.instance.id, error)
        return ""
    return text
