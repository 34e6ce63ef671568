"""Planning: `mayfly plan` beside plain `terraform init && terraform plan` in a loop over the same roots.

Run it with `python bench/plan.py [--roots 1 10 40] [--memory 2048] [--runs 3]`. Both sides start from freshly generated
roots on the same embedded cloud, with the same provider from the same folder, after each has planned another root once.
They take turns; figures are medians, ratios those of neighbouring runs. Nothing is applied.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from compiler.load import load_platform
from compiler.platform import render_platform
from compiler.tree import write_tree
from mayfly.cli.context import Context
from mayfly.cli.open import start_cloud
from runner.terraform import Terraform, terraform_environment
from runner.toolchain import find_toolchain

MIB = 2**20
SAMPLE_S = 0.25
MANY = 10
BLUEPRINT = "id: {id}\ntitle: Number {id}\nstage: public\nresources: [{{instance_type: m5.large}}]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one side took.

    Attributes:
        wall: seconds.
        cpu: seconds, of all processes.
        memory: peak of private memory of all processes together, bytes.
    """

    wall: float
    cpu: float
    memory: int


def write_project(folder: Path, count: int) -> None:
    """Write a platform with that many analyses."""
    (folder / "users").mkdir(parents=True)
    (folder / "users" / "lab1.yaml").write_text("id: lab1\ntitle: One\nanalyses: [a000]\n")
    (folder / "mayfly.yaml").write_text('name: bench\naccount: "123456789012"\nregion: us-east-1\n')
    for number in range(count):
        home = folder / "blueprints" / f"a{number:03}"
        (home / "environment").mkdir(parents=True)
        (home / "blueprint.yaml").write_text(BLUEPRINT.format(id=home.name))
        (home / "environment" / "requirements.lock").write_text("")
        (home / "environment" / "run.py").write_text("")


def measure(command: Sequence[str | Path], cwd: Path, env: dict[str, str]) -> Figures:
    """Run a command and watch it and all its children."""
    before = os.times()
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, pause = 0, threading.Event()
    whole = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, private(whole))
        pause.wait(SAMPLE_S)
    wall, after = time.monotonic() - start, os.times()
    said = process.stderr.read().decode() if process.stderr else ""
    if process.returncode:
        raise SystemExit(f"{command}: {said}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Figures(wall=wall, cpu=cpu, memory=peak)


def private(whole: psutil.Process) -> int:
    """Return the private memory of a process and all below it."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for one in [whole, *whole.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += one.memory_full_info().uss
    return total


LOOP = """
for root in "$@"; do
  (cd "$root" && terraform init -input=false -backend-config=path="$STATES/$root" >/dev/null &&
   terraform plan -input=false -out=plan >/dev/null) || exit 1
done
"""


def main() -> int:
    """Measure, print a table, and say by the exit code whether ours is faster and within its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--roots", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--memory", type=int, default=2048, help="budget of mayfly plan, MiB")
    parser.add_argument("--runs", type=int, default=3, help="of each side, for up to ten roots; one for more")
    given = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| roots | plain: s | CPU s | MiB | mayfly plan: s | CPU s | MiB | wall, ours/plain | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    missed = []
    for count in given.roots:
        plain, ours = compare(count, given.memory, given.runs if count <= MANY else 1)
        wall, cpu = (median(b / a for a, b in zip(*pair, strict=True)) for pair in ratios(plain, ours))
        sides = " | ".join(row(side) for side in (plain, ours))
        print(f"| {count} | {sides} | {wall:.2f} | {cpu:.2f} |", flush=True)
        if wall >= 1:
            missed.append(f"{count} roots: not faster than plain Terraform")
        if max(one.memory for one in ours) > given.memory * MIB:
            missed.append(f"{count} roots: over the budget of {given.memory} MiB")
    print("\n".join(f"FAILS: {one}" for one in missed) or "holds: faster than plain Terraform, within its budget")
    return 1 if missed else 0


def ratios(plain: list[Figures], ours: list[Figures]) -> list[tuple[list[float], list[float]]]:
    """Return wall times and CPU times of both sides."""
    return [([one.wall for one in plain], [one.wall for one in ours]), ([p.cpu for p in plain], [o.cpu for o in ours])]


def row(side: list[Figures]) -> str:
    """Return the medians of a side, and the most memory it ever took."""
    wall, cpu = median(one.wall for one in side), median(one.cpu for one in side)
    return f"{wall:.1f} | {cpu:.1f} | {max(one.memory for one in side) // MIB}"


def compare(count: int, memory: int, runs: int) -> tuple[list[Figures], list[Figures]]:
    """Plan that many roots both ways, so often."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "project"
        write_project(project, count + 1)
        context, platform = Context(project_option=project), load_platform(project)
        names = [f"analyses/a{number:03}" for number in range(count + 1)]
        toolchain = find_toolchain(context.terraform_cache, os.environ)
        Terraform(toolchain, {}).lock_file()  # what a machine has after its first run
        plain, ours = [], []
        with context.home.locked(), start_cloud(context, platform) as cloud:
            env = terraform_environment(toolchain, cloud.settings.environment(), os.environ)
            lock = next((context.terraform_cache / "prepared").rglob(".terraform.lock.hcl"))
            by_us = [sys.executable, "-m", "mayfly.cli.main", "plan", "--memory", str(memory), "--json"]
            for number in range(runs + 1):
                roots = names[:count] if number else names[count:]  # first what warms both up
                fresh = folder / f"plain-{number}"
                write_tree(fresh, render_platform(platform))
                (fresh / "states" / "analyses").mkdir(parents=True)
                for root in names:
                    shutil.copy(lock, fresh / root)  # without it, each init would hash the provider for two seconds
                    shutil.rmtree(project / "build" / root / ".terraform", ignore_errors=True)
                states = {**env, "STATES": str(fresh / "states")}
                plain.append(measure(["sh", "-c", LOOP, "loop", *roots], fresh, states))
                ours.append(measure([*by_us, *roots], project, dict(os.environ)))
        return plain[1:], ours[1:]


if __name__ == "__main__":
    sys.exit(main())
