"""`make demo` in a fresh clone: once cold, then warm, by stage.

Cold: no .venv/, no .mayfly/, nothing deployed; what was downloaded before (wheels, the provider) is taken from this
machine's caches. Warm: the same command again. A stage lasts from its title to the next one; "first result" is the
moment at which the results are shown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parent.parent
WARM_S, COLD_S = 60.0, 180.0
"""Until the first result; figures of the issue that asked for this."""
SET_UP = "set-up, start of the command"
FIRST_RESULT = "Results"
LEFT = "job resources left: 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One demo.

    Attributes:
        stages: seconds by title, in order.
        first_result: seconds until the results were shown.
        wall: seconds in all.
        cpu: CPU seconds of everything it started.
    """

    stages: dict[str, float]
    first_result: float
    wall: float
    cpu: float


def main() -> int:
    """Measure, print, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="warm runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        clone = Path(folder, "mayfly")
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)], check=True)
        before = os.getloadavg()[0]
        cold = run_demo(clone)
        warm = [run_demo(clone) for _ in range(arguments.runs)]
    print(f"load average before and after: {before:.1f}, {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"{'make demo, s':44}{'cold':>8}{'warm, median of ' + str(len(warm)):>22}")
    for stage in cold.stages | warm[0].stages:
        often = [run.stages.get(stage, 0.0) for run in warm]
        print(f"  {stage:42}{cold.stages.get(stage, 0.0):8.1f}{spread(often):>22}")
    for name in ("first_result", "wall", "cpu"):
        often = [getattr(run, name) for run in warm]
        label = {"first_result": "until the first result", "wall": "in all", "cpu": "CPU of everything"}[name]
        print(f"{label:44}{getattr(cold, name):8.1f}{spread(often):>22}")
    held = {
        f"warm, first result within {WARM_S:g} s": median(run.first_result for run in warm) <= WARM_S,
        f"cold, first result within {COLD_S:g} s": cold.first_result <= COLD_S,
    }
    for claim, holds in held.items():
        print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return 0 if all(held.values()) else 1


def run_demo(clone: Path) -> Run:
    """Run `make demo` and time the titles it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    start = time.monotonic()
    process = subprocess.Popen(
        ["make", "demo"], cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines, stages, stage, since = [], {}, SET_UP, start
    first_result = 0.0
    for line in process.stdout:
        now, title = time.monotonic(), line.rstrip("\n")
        lines.append(title)
        if title and not title.startswith((" ", "\t")) and is_title(title):
            stages[stage] = stages.get(stage, 0.0) + now - since
            stage, since = title, now
            first_result = first_result or (now - start if title == FIRST_RESULT else 0.0)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    end = time.monotonic()
    stages[stage] = end - since
    if process.returncode or LEFT not in "\n".join(lines):
        raise SystemExit("make demo failed:\n" + "\n".join(lines[-40:]))
    return Run(stages=stages, first_result=first_result, wall=end - start, cpu=used.ru_utime + used.ru_stime)


def is_title(line: str) -> bool:
    """Return whether a line is the title of what comes next."""
    return line.startswith(("Mayfly runs", "The ", "Submitting", "Results", "Cost and time", "Stopping"))


def spread(values: list[float]) -> str:
    """Return a median with its extremes."""
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
