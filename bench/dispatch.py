"""From an uploaded submission to running machines, beside Terraform by hand on the same workspace.

Ours: the clock starts when the upload of `submit.json` has returned, and stops when the worker says that Terraform
has made the machines. By hand: `terraform init && terraform apply -auto-approve` on a copy of that very workspace,
against the same embedded cloud, with a provider that is already on the disk. Runs take turns, so that what else the
machine does falls on both; the exit code says whether the limits hold. CPU is that of all processes that do the work
(by hand: Terraform and its provider; ours: also watcher and worker), without the embedded cloud, which serves both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.end_to_end.living import Living

LOOK_S = 0.2
RUNS_S = 3
"""How long the analysis itself takes: the workspace must be copied before the job is over."""
NOT_COPIED = shutil.ignore_patterns(".terraform", "*.tfstate*", "terraform.log")

LIMITS = {"wall": 0.95, "cpu": 0.9}
"""Ours to by hand, at most."""
LABELS = {"wall": "until all is made, s", "seen": "until EC2 knows the instances, s", "cpu": "CPU, s"}

Stages = dict[str, float]
"""Seconds by the name of a stage, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One dispatch.

    Attributes:
        wall: until Terraform has said that everything is made, seconds.
        cpu: of all processes that did it, seconds.
        seen: until EC2 knew the instance, seconds.
        stages: where the time went.
    """

    wall: float
    cpu: float
    seen: float
    stages: Stages


def by_job(platform: Living, datasets: int, copy: Path) -> Run:
    """Submit a job, time it until its machines are made, keep a copy of its workspace, and wait for its end."""
    processes = [psutil.Process(p.pid) for name in ("worker", "watch") for p in platform.find_all(name)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Inputs and config are uploaded inside `submit`, too; the clock starts with the story's own first line.
        before = sum(map(cpu_of, processes))
        root = platform.submit(datasets=datasets, seconds=RUNS_S)
        uploaded = datetime.now(UTC)
        record = platform.job(root)
        seen = pool.submit(wait_for_machines, platform, record.id, datasets)
        up = platform.until(lambda: told(platform, record.id, "machines are up"), "the machines")
        cpu = sum(map(cpu_of, processes)) - before
        workspace = platform.home / "jobs" / record.id
        shutil.copytree(workspace, copy, ignore=NOT_COPIED)
        moments = moments_of(platform, record.id, workspace / "terraform.log", seen)
    stages = dict(zip(moments, (b - a for a, b in pairwise([uploaded.timestamp(), *moments.values()])), strict=True))
    platform.ended(root)
    return Run(wall=up - uploaded.timestamp(), cpu=cpu, seen=seen.result() - uploaded.timestamp(), stages=stages)


def moments_of(platform: Living, job: str, log: Path, seen: Future[float]) -> Stages:
    """Return when each stage of a dispatch was over, seconds since the epoch."""
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    asked = [e for e in events if e["type"] == "apply_start" and "aws_instance" in e["hook"]["resource"]["addr"]]
    begun = (log.parent / "terraform.log").stat()  # made by the worker when it starts Terraform
    return {
        "event, intake, admission": moment(platform, job, "admitted"),
        "engine takes it": moment(platform, job, "provisioning"),
        "workspace written": moment(platform, job, "workspace written"),
        "Terraform starts, plans": datetime.fromisoformat(asked[0]["@timestamp"]).timestamp()
        if asked
        else begun.st_ctime,
        "EC2 knows the instance": seen.result(),
        "provider waits for it": moment(platform, job, "machines are up"),
    }


def moment(platform: Living, job: str, text: str) -> float:
    """Return when a line of a job's story was told."""
    return told(platform, job, text) or 0.0


def told(platform: Living, job: str, text: str) -> float | None:
    """Return when a line that starts so was told; None before."""
    return next((line.at.timestamp() for line in platform.book.story(job) if line.text.startswith(text)), None)


def by_hand(platform: Living, folder: Path) -> Run:
    """Run init and apply in a copy of a job's workspace as a person would, then take it down again."""
    values = folder / "job.auto.tfvars.json"
    said = json.loads(values.read_text(encoding="utf-8"))
    said["job"] = folder.name
    values.write_text(json.dumps(said), encoding="utf-8")
    environment = environment_of(platform)
    with ThreadPoolExecutor(max_workers=1) as pool:
        before, start = cpu_of_children(), time.time()
        seen = pool.submit(wait_for_machines, platform, folder.name, len(said["tasks"]))
        terraform(folder, environment, "init", "-input=false")
        ready = time.time()
        terraform(folder, environment, "apply", "-auto-approve", "-input=false")
        end, cpu = time.time(), cpu_of_children() - before
    terraform(folder, environment, "destroy", "-auto-approve", "-input=false")
    stages = {
        "init": ready - start,
        "apply until EC2 knows the instance": seen.result() - ready,
        "provider waits for it": end - seen.result(),
    }
    return Run(wall=end - start, cpu=cpu, seen=seen.result() - start, stages=stages)


def environment_of(platform: Living) -> dict[str, str]:
    """Return what a person's shell would hold: the cloud's address, keys, and where the provider lies."""
    cloud = json.loads((platform.home / "cloud" / "cloud.json").read_text(encoding="utf-8"))
    config = next((platform.project / ".mayfly" / "terraform" / "prepared").glob("*/terraform.tfrc"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **kept,
        "AWS_ENDPOINT_URL": cloud["endpoint"],
        "AWS_ENDPOINT_URL_EC2": cloud["ec2_endpoint"],
        "AWS_ACCESS_KEY_ID": cloud["access_key"],
        "AWS_SECRET_ACCESS_KEY": cloud["secret_key"],
        "AWS_REGION": cloud["region"],
        "TF_CLI_CONFIG_FILE": str(config),
        "CHECKPOINT_DISABLE": "1",
    }


def terraform(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    """Run Terraform as from a shell."""
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        raise SystemExit("There is neither terraform nor tofu on PATH: nothing to compare with.")
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"terraform {arguments[0]} failed in {folder}:\n{done.stdout}{done.stderr}")


def wait_for_machines(platform: Living, job: str, count: int) -> float:
    """Return when EC2 knew the machines of a job."""
    ec2, mine = platform.client("ec2"), [{"Name": "tag:mayfly:job", "Values": [job]}]
    while True:
        found = ec2.describe_instances(Filters=mine)["Reservations"]
        if sum(len(one["Instances"]) for one in found) >= count:
            return time.time()
        time.sleep(LOOK_S)


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_of_children() -> float:
    """Return the CPU seconds of our own children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(ours: list[Run], hand: list[Run], datasets: int) -> bool:
    """Print medians, ratios, and where the time went; return whether the limits hold."""
    held = True
    print(f"{len(ours)} runs of each, in turns; {datasets} machine(s) a job; medians (least to most)\n")
    print(f"{'':38}{'mayfly':>22}{'by hand':>22}{'ratio':>8}")
    for name, label in LABELS.items():
        mine, theirs = ([getattr(run, name) for run in runs] for runs in (ours, hand))
        ratio = median(a / b for a, b in zip(mine, theirs, strict=True))
        limit = LIMITS.get(name)
        verdict = "" if limit is None else f"   ≤ {limit:g}   {'ok' if ratio <= limit else 'MISSED'}"
        held = held and (limit is None or ratio <= limit)
        print(f"{label:38}{spread(mine):>22}{spread(theirs):>22}{ratio:8.2f}{verdict}")
    for title, runs in (("mayfly", ours), ("by hand", hand)):
        print(f"\n{title}, s")
        for stage in runs[0].stages:
            print(f"  {stage:36}{spread([run.stages[stage] for run in runs]):>22}")
    return held


def spread(values: list[float]) -> str:
    """Return a median with its extremes."""
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind")
    parser.add_argument("--datasets", type=int, default=1, help="machines of a job")
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        platform = Living(Path(folder, "project"))
        try:
            platform.start()
            by_job(platform, 1, Path(folder, "warm-up"))  # what is made once is made now
            ours, hand = [], []
            for number in range(arguments.runs):
                copy = Path(folder, f"hand-{number}")
                ours.append(by_job(platform, arguments.datasets, copy))
                hand.append(by_hand(platform, copy))
        finally:
            platform.stop()
    print(f"load average before and after: {before:.1f}, {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if show(ours, hand, arguments.datasets) else 1


if __name__ == "__main__":
    sys.exit(main())
