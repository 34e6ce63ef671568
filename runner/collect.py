"""When the work is done: is everything there that the machines said they uploaded, byte for byte?

An agent reports only what it has found again in the bucket (runner.iae.results); this is the platform's own look.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

from runner.cloud_values import Cloud
from runner.monitor import Signs
from state.errors import CloudError
from state.job import Job, TaskStatus

READ_AGAIN = 64 * 1024 * 1024
"""Bytes up to which a file is read again when the store does not tell a checksum of its own."""
SIDE_BY_SIDE = 32
"""Questions to the store at once: it answers one in 30 ms, and a task may have written 50,000 files."""

log = logging.getLogger(__name__)


def check_results(cloud: Cloud, job: Job, all_signs: list[Signs]) -> dict[int, tuple[str, ...]]:
    """Return the result files that were reported and are not in the bucket as they were, by task, with what is wrong.

    Every file must be there with its size, and the same bytes: the store's checksum of the whole object is compared
    with the agent's; where the store has none, a small file is read again.
    """
    bucket, found_there = job.results.bucket, cloud.list(job.results.bucket, job.results.results)
    shelf = _Shelf(cloud=cloud, bucket=bucket, sizes={one.key: one.size for one in found_there})
    found: dict[int, tuple[str, ...]] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="collect") as pool:
        for signs in all_signs:
            report = signs.report or {}
            outputs = report.get("outputs")
            if report.get("status") != TaskStatus.SUCCESS or not isinstance(outputs, list):
                continue
            folder = job.results_folder(signs.task)
            problems = pool.map(partial(shelf.problem, folder), outputs)
            wrong = [
                f"{folder}{output.get('path')}".removeprefix(job.results.results) + why
                for output, why in zip(outputs, problems, strict=True)
                if why is not None
            ]
            if wrong:
                found[signs.task.number] = tuple(wrong)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """The results of a job as the store has them: sizes by key. Files are read again one by one: each may be large."""

    cloud: Cloud
    bucket: str
    sizes: Mapping[str, int]
    alone: Lock = field(default_factory=Lock)

    def problem(self, folder: str, output: Mapping[str, Any]) -> str | None:
        """Return what is wrong with one file, empty when it is not there, None when it is good."""
        key = f"{folder}{output.get('path')}"
        if key not in self.sizes:
            return ""
        size, crc32, sha256 = self.sizes[key], output.get("crc32"), output.get("sha256")
        if size != output.get("size"):
            return f" ({size} instead of {output.get('size')} bytes)"
        known = self.cloud.checksum(self.bucket, key) if crc32 else None
        if known is not None:
            return None if known == crc32 else " (its checksum is another)"
        if sha256 and size <= READ_AGAIN:
            with self.alone:
                same = hashlib.sha256(self.cloud.read(self.bucket, key)).hexdigest() == sha256
            return None if same else " (its content is another)"
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
