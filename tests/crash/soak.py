# ruff: noqa: T201 - a program that talks to its terminal
"""`python -m tests.crash.soak --minutes 20`: harm a platform for as long as you like, and count."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from state.database import sqlite_url
from tests.crash.faults import ALL
from tests.crash.harness import ROOT, Platform
from tests.crash.postgres import Postgres, find_programs
from tests.crash.runs import harm_everywhere, kill_at_random, missing_faults, missing_points

PATIENCE_S = 600
NETWORK = Path(__file__).with_name("terraform_on_bad_network.py")
NO_POSTGRES = (
    "There is no PostgreSQL on this machine, and half of what is promised is about it. Install it (Debian: "
    "postgresql), or soak only the half that needs none: python -m tests.crash.soak --sqlite-only."
)


@contextlib.contextmanager
def database_servers(programs: Path | None, *, sqlite_only: bool) -> Iterator[list[Postgres | None]]:
    """Run the PostgreSQL of a folder with its programs; None stands for SQLite.

    Raises:
        SystemExit: there is none, and nobody said that this is fine.
    """
    if sqlite_only:
        yield [None]
        return
    if programs is None:
        sys.exit(NO_POSTGRES)
    server = Postgres(programs)
    try:
        server.start()
        yield [None, server]
    finally:
        server.stop()


@contextlib.contextmanager
def running(
    server: Postgres | None, workers: int, what: str, total: Counter[str], **options: int
) -> Iterator[Platform]:
    """Run a platform; print what was done to it, and add that to the total, however it ends."""
    with tempfile.TemporaryDirectory(prefix="mayfly-soak-") as name:
        folder = Path(name)
        url = server.new_database() if server else sqlite_url(folder / "ledger.db")
        platform = Platform(
            folder, url, workers=workers, armed=bool(options.get("armed")), faults=options.get("faults", 0)
        )
        try:
            yield platform
        finally:
            counts, points = platform.counts, len(platform.points)
            kind = "PostgreSQL" if server else "SQLite"
            print(f"{kind}, {workers} worker(s), {what}: {counts}; {points} points, {len(platform.faults)} faults")
            total.update(
                jobs=counts.jobs,
                kills=counts.kills.total(),
                deaths=counts.deaths.total(),
                faults=len(platform.faults),
                restarts=counts.restarts,
            )
            platform.close()


def kill_at_every_point(server: Postgres | None, workers: int, total: Counter[str]) -> None:
    """Let processes and agents die at every point once."""
    with running(server, workers, "a kill at every point", total, armed=True) as platform:
        harm_everywhere(platform, jobs=8, seconds=PATIENCE_S)
        if missing := missing_points(platform.points):
            raise AssertionError(f"nobody died at {missing}")


def fail_at_every_call(server: Postgres | None, workers: int, total: Counter[str]) -> None:
    """Let every call meet every fault once."""
    with running(server, workers, "every fault of every call", total, faults=ALL) as platform:
        harm_everywhere(platform, jobs=8, seconds=PATIENCE_S)
        if missing := missing_faults(platform.faults):
            raise AssertionError(f"nothing went wrong with {missing}")


def harm_at_random(server: Postgres | None, workers: int, seconds: float, total: Counter[str]) -> None:
    """Kill at random, with a cloud that fails at every call, too."""
    with running(server, workers, "at random", total, faults=ALL) as platform:
        restart = server.crash if server else None
        kill_at_random(platform, seconds=seconds, every_s=0.7, restart=restart, patience_s=PATIENCE_S)


def main() -> int:
    """Soak until the time is up; a promise that is broken ends it with what the processes said."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="about how long; every point and call comes first")
    parser.add_argument("--sqlite-only", action="store_true", help="leave out what needs a PostgreSQL")
    options = parser.parse_args()
    end, total = time.monotonic() + options.minutes * 60, Counter[str]()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with database_servers(find_programs(), sqlite_only=options.sqlite_only) as servers:
        network = subprocess.run([sys.executable, "-m", "pytest", "-q", str(NETWORK)], cwd=ROOT, check=False)
        if network.returncode:
            return network.returncode
        ways = [(server, workers) for workers in (2, 1) for server in servers]
        for harm in (kill_at_every_point, fail_at_every_call):
            for server, workers in ways:
                harm(server, workers, total)
        while (left := end - time.monotonic()) > 0:
            for server, workers in ways:
                harm_at_random(server, workers, max(10.0, min(60.0, left / 4)), total)
    print("; ".join(f"{count} {what}" for what, count in total.items()))
    print("Every job ended, was told, and was billed once; no machine, volume, lock or promise is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
