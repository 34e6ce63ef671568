"""How Mayfly grows: 500 watched jobs, a large dataset, many datasets in a job, many jobs, and what a teardown takes.

`bench/scale.py --quick` leaves out what needs a running platform; `--only NAME` measures one thing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
GB = 10**9
JOBS_BY_HAND = 3
"""The loop by hand is measured with a few jobs: one takes as long as another, and 45 take half an hour."""
sys.path.insert(0, str(ROOT))


def show(what: str, value: float, limit: float, *, at_most: bool = True) -> bool:
    """Print a figure beside its limit; return whether it holds."""
    good = value <= limit if at_most else value >= limit
    print(f"  {what:58}{value:10.2f}   {'≤' if at_most else '≥'} {limit:g}   {'ok' if good else 'MISSED'}", flush=True)
    return good


def ask(name: str, *arguments: object) -> dict[str, object]:
    """Run a measurement in a process of its own and return its last line, JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(FOLDER / f"_{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def monitoring(quick: bool) -> bool:
    """Watch 500 jobs."""
    found = ask("monitoring", 500, 20 if quick else 60)
    print("500 jobs watched at once")
    core, memory = float(str(found["core"])), float(str(found["MB"]))
    good = show("memory, MB (fake cloud included)", memory, 200)
    return show("CPU, cores", core, 0.10) and good


def transfer(quick: bool) -> bool:
    """Move a large object."""
    size = GB // 2 if quick else 2 * GB
    found = ask("transfer", size, 3)
    print(f"{size / GB:g} GB from and to a store on loopback, in turns with the AWS CLI")
    good = []
    for way in ("down", "up"):
        ours, cli = ([dict(one) for one in found[f"{way} {who}"]] for who in ("agent", "aws"))  # type: ignore[attr-defined]
        ratio = median(b["s"] / a["s"] for a, b in zip(ours, cli, strict=True))
        good.append(show(f"speed {way} : the AWS CLI's", ratio, 0.8, at_most=False))
        good.append(show("memory that grew meanwhile, MB", max(one["MB"] for one in ours), 200))
    return all(good)


def platform_parts(only: str, large: int, jobs: int) -> list[bool]:
    """Measure what needs a platform that runs."""
    sys.path.insert(0, str(FOLDER))
    import _platform as parts  # noqa: PLC0415  (imports half of everything)

    from tests.end_to_end.living import Living  # noqa: PLC0415

    good: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as name:
        platform = Living(Path(name, "project"))
        parts.allow_many(platform, large)
        try:
            platform.start()
            parts.run_job(platform, 1)  # what is made once is made now
            if only in {"", "teardown"}:
                pairs = [[parts.teardown(platform, running=one) for one in (False, True)] for _ in range(3)]
                whole, destroy = [median(a[n] / b[n] for a, b in pairs) for n in (0, 1)]
                words = (f"{a[1]:.1f} of {a[0]:.1f} : {b[1]:.1f} of {b[0]:.1f}" for a, b in pairs)
                print("teardown, seconds of destroy in all: " + "; ".join(words))
                good.append(show("`terraform destroy`, machines that ended : that ran", destroy, 0.3))
                print(f"  from the decision to the account, farewell and sweep included: {whole:.2f}")
            if only in {"", "datasets"}:
                walls = {count: parts.run_job(platform, count) for count in (1, 10, large)}
                print("one job; " + ", ".join(f"{n}: {w:.0f} s, {c:.0f} CPU-s" for n, (w, c) in walls.items()))
                good.append(show(f"wall of {large} datasets : of 1", walls[large][0] / walls[1][0], 1.6))
                good.append(show(f"CPU of {large} datasets : of 1", walls[large][1] / walls[1][1], 3))
            if only in {"", "jobs"}:
                by_hand = parts.run_by_hand(platform, JOBS_BY_HAND, Path(name)) / JOBS_BY_HAND
                wall, memory = parts.run_together(platform, jobs)
                print(f"{jobs} jobs at once: {wall:.0f} s; one by hand: {by_hand:.0f} s")
                good.append(show("jobs a minute : a loop of Terraforms", by_hand * jobs / wall, 3, at_most=False))
                good.append(show("private memory of all processes, MB", memory, 8000))
        finally:
            platform.stop()
    return good


def main() -> int:
    """Measure, print, and tell by the exit code whether all limits hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only what needs no running platform, and smaller")
    parser.add_argument("--only", default="", help="monitoring, transfer, teardown, datasets or jobs")
    parser.add_argument("--datasets", type=int, default=70, help="of the large job")
    parser.add_argument("--jobs", type=int, default=45, help="at once")
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    good: list[bool] = []
    for name, measure in (("monitoring", monitoring), ("transfer", transfer)):
        if arguments.only in {"", name}:
            good.append(measure(arguments.quick))
    if not arguments.quick and arguments.only in {"", "teardown", "datasets", "jobs"}:
        good += platform_parts(arguments.only, arguments.datasets, arguments.jobs)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
