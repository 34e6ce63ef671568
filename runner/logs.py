"""One whole log for every task: its agent writes it at the end; where none did, what came in meanwhile is joined."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from runner.cloud_values import Cloud
from state.job import Job

CUT = "[mayfly] the log is cut here: its machine was gone before it could send the rest\n"


def complete_logs(cloud: Cloud, job: Job) -> list[int]:
    """Write the logs that are missing from the chunks that followers read; return the numbers of their tasks.

    To be called when the machines are gone: until then an agent may still write the log itself. A chunk is read at a
    time, because a log may be large.
    """
    keys = job.results
    live = {keys.live_folder(task.number): task.number for task in job.tasks}
    there: set[str] = set()
    chunks: dict[int, list[str]] = defaultdict(list)
    for one in cloud.list(keys.bucket, keys.logs):
        there.add(one.key)
        folder = one.key.rpartition("/")[0] + "/"
        if folder in live:
            chunks[live[folder]].append(one.key)  # listed in the order of their names, which are their numbers
    missing = [number for number in chunks if keys.log(number) not in there]
    for number in missing:
        with tempfile.TemporaryDirectory(prefix="mayfly-log-") as folder:
            path = Path(folder, "log")
            with path.open("wb") as file:
                for key in chunks[number]:
                    file.write(cloud.read(keys.bucket, key))
                file.write(CUT.encode())
            cloud.upload(path, keys.bucket, keys.log(number))
    return missing
