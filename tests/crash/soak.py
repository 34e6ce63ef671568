# ruff: noqa: T201 - a program that talks to its terminal
"""`python -m tests.crash.soak --minutes 20`: kill a platform for as long as you like, and count."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from state.database import sqlite_url
from tests.crash.harness import ROOT, Platform
from tests.crash.postgres import Postgres, find_programs
from tests.crash.runs import kill_at_random, kill_everywhere, missing_points

PATIENCE_S = 600
NETWORK = Path(__file__).with_name("terraform_on_bad_network.py")


@contextlib.contextmanager
def database_server() -> Iterator[Postgres | None]:
    """Run a PostgreSQL, where there is one."""
    programs = find_programs()
    if programs is None:
        print("No PostgreSQL on this machine: its half is left out. Install it (Debian: postgresql).")
        yield None
        return
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def everywhere(server: Postgres | None, workers: int) -> int:
    """Kill at every point once; return how many jobs that took."""
    with tempfile.TemporaryDirectory(prefix="mayfly-soak-") as name:
        folder = Path(name)
        url = server.new_database() if server else sqlite_url(folder / "ledger.db")
        platform = Platform(folder, url, workers=workers, armed=True)
        try:
            kill_everywhere(platform, jobs=8, seconds=PATIENCE_S)
            missing = missing_points(platform.points)
            if missing:
                raise AssertionError(f"nobody died at {missing}")
        finally:
            print(f"{kind(server)}, {workers} worker(s), every point: {platform.counts}; {len(platform.points)} points")
            platform.close()
    return platform.counts.jobs


def at_random(server: Postgres | None, workers: int, seconds: float) -> int:
    """Kill at random; return how many jobs that took."""
    with tempfile.TemporaryDirectory(prefix="mayfly-soak-") as name:
        folder = Path(name)
        url = server.new_database() if server else sqlite_url(folder / "ledger.db")
        platform = Platform(folder, url, workers=workers)
        try:
            restart = server.crash if server else None
            kill_at_random(platform, seconds=seconds, every_s=0.7, restart=restart, patience_s=PATIENCE_S)
        finally:
            print(f"{kind(server)}, {workers} worker(s), at random: {platform.counts}")
            platform.close()
    return platform.counts.jobs


def kind(server: Postgres | None) -> str:
    return "PostgreSQL" if server else "SQLite"


def main() -> int:
    """Soak until the time is up; a promise that is broken ends it with what the processes said."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="about how long")
    end = time.monotonic() + parser.parse_args().minutes * 60
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    network = subprocess.run([sys.executable, "-m", "pytest", "-q", str(NETWORK)], cwd=ROOT, check=False)
    if network.returncode:
        return network.returncode
    with database_server() as server:
        kinds = [None, server] if server else [None]
        jobs = sum(everywhere(one, 2) for one in kinds)
        while (left := end - time.monotonic()) > 0:
            for one in kinds:
                for workers in (1, 2):
                    jobs += at_random(one, workers, max(10.0, min(60.0, left / 4)))
    print(f"{jobs} jobs: every one ended, was told, and was billed once; no machine, volume, lock or promise is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
