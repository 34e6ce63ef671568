"""Jobs on a platform that really runs: how time and CPU grow with datasets and jobs, and what a teardown takes."""

from __future__ import annotations

import json
import shutil
import time
from datetime import datetime
from pathlib import Path

import psutil
from dispatch import environment_of, terraform

from state.job import JobStatus
from tests.end_to_end.living import Living

NOT_COPIED = shutil.ignore_patterns(".terraform", "terraform.tfstate*", "*.log", ".terraform.tfstate.lock.info")


def allow_many(platform: Living, datasets: int) -> None:
    """Let a job of the test's analysis have so many datasets and cost what they do."""
    path = platform.project / "blueprints" / "toy" / "blueprint.yaml"
    text = path.read_text(encoding="utf-8").replace("cost: 5", f"cost: 50, instances: {datasets}")
    path.write_text(text, encoding="utf-8")


def cpu_of_platform(platform: Living) -> float:
    """Return the CPU seconds of watcher and worker, with all the Terraforms that have ended."""
    found = 0.0
    for name in ("worker", "watch"):
        for process in platform.find_all(name):
            times = psutil.Process(process.pid).cpu_times()
            found += times.user + times.system + times.children_user + times.children_system
    return found


def run_job(platform: Living, datasets: int) -> tuple[float, float]:
    """Run one job to its end; return its wall time and its CPU seconds."""
    before, start = cpu_of_platform(platform), time.monotonic()
    record = platform.ended(platform.submit(datasets=datasets))
    assert record.status is JobStatus.DONE, record
    return time.monotonic() - start, cpu_of_platform(platform) - before


def run_together(platform: Living, jobs: int) -> tuple[float, float]:
    """Run jobs of one dataset beside each other; return the wall time and the most memory of the processes, MB."""
    start, most = time.monotonic(), 0.0
    roots = [platform.submit() for _ in range(jobs)]
    assert platform.process is not None
    while not all((record := platform.look(root)) and record.status.is_final for root in roots):
        tree = [psutil.Process(platform.process.pid), *psutil.Process(platform.process.pid).children(recursive=True)]
        most = max(most, sum(memory_of(one) for one in tree))
        time.sleep(0.5)
    bad = [record for root in roots if (record := platform.ended(root)).status is not JobStatus.DONE]
    assert not bad, bad
    return time.monotonic() - start, most


def memory_of(process: psutil.Process) -> float:
    """Return the private memory of a process, MB; nothing of one that has ended."""
    try:
        return float(process.memory_info().rss - process.memory_info().shared) / 1e6
    except psutil.Error:
        return 0.0


def run_by_hand(platform: Living, jobs: int, folder: Path) -> float:
    """Run the loop that a script would: init, apply, destroy, one workspace after the other; return the wall time."""
    root = platform.submit(seconds=20)
    record = platform.reach(root, JobStatus.RUNNING)
    made = platform.home / "jobs" / record.id
    for number in range(jobs):
        shutil.copytree(made, folder / f"hand-{number}", ignore=NOT_COPIED)
    platform.ended(root)
    environment, start = environment_of(platform), time.monotonic()
    for number in range(jobs):
        copy = folder / f"hand-{number}"
        values = copy / "job.auto.tfvars.json"
        values.write_text(values.read_text(encoding="utf-8").replace(record.id, f"hand-{number}"), encoding="utf-8")
        terraform(copy, environment, "init", "-input=false")
        terraform(copy, environment, "apply", "-auto-approve", "-input=false")
        terraform(copy, environment, "destroy", "-auto-approve", "-input=false")
    return time.monotonic() - start


def teardown(platform: Living, *, running: bool) -> tuple[float, float]:
    """Return how long a job's end took from its decision to its account, and `terraform destroy` of that, seconds."""
    root = platform.submit(seconds=600 if running else 0)
    if running:
        record = platform.reach(root, JobStatus.RUNNING)
        platform.book.request_cancel(record.id, "measured", record.changed)
    record = platform.ended(root)
    story = {line.text: line.at for line in platform.book.story(record.id) if line.kind == "status"}
    told = next(line.at for line in platform.book.story(record.id) if line.text.startswith("cost:"))
    lines = platform.text(f"{root}logs/workspace/terraform.log").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    first = max(index for index, event in enumerate(events) if event["type"] == "version")
    begun, ended = (datetime.fromisoformat(events[index]["@timestamp"]) for index in (first, -1))
    return (told - story[JobStatus.DESTROYING]).total_seconds(), (ended - begun).total_seconds()
