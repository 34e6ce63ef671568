"""The platform's real processes over the distant cloud: `python -m tests.crash.player worker FOLDER`.

`nursery FOLDER` is a process that starts them by forking itself: it has imported everything, so that a start costs a
tenth of what a new Python costs, and hundreds of kills take minutes. What runs, and what is killed, is the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import select
import signal
import sys
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401  (imported before forking, not in each child)

from runner.agent_build import AgentArchive
from runner.cloud_values import CloudSettings
from runner.monitor import Patience
from runner.service import Shop, Site, Worker, World, run_watcher, run_worker
from state.backend import LocalBackend
from state.codec import load
from tests.crash.distant_cloud import DistantCloud
from tests.crash.distant_terraform import DistantTerraform
from tests.crash.faults import Faults
from tests.crash.kill_points import KillPoints, MarkedLife

PR_SET_PDEATHSIG = 1
LEASE = timedelta(seconds=1)
REAP_EVERY = timedelta(seconds=2)
"""So often that the reaper, too, goes round while processes die and the database is away."""
PATIENCE = Patience(boot=timedelta(seconds=20), silence=timedelta(seconds=5))
"""Of a platform whose agents need no time at all, but speak through a ledger that may be away for a moment."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process is to be.

    Attributes:
        role: worker or watcher.
        folder: of the run.
        database: URL of the ledger.
        armed: whether it dies at the points that it is the first to reach.
        only: which of them.
        faults: how many faults each of its calls meets in a whole run, by all processes together.
    """

    role: str
    folder: str
    database: str
    armed: bool = False
    only: str = ""
    faults: int = 0


def play(part: Part) -> None:
    """Be one process of the platform, until something kills it."""
    folder, stop = Path(part.folder), threading.Event()
    logging.basicConfig(
        filename=folder / f"{part.role}.log",
        format="%(process)d %(levelname)s %(name)s %(message)s",
        level=logging.WARNING,
    )
    points = KillPoints(folder / "points", armed=part.armed, only=part.only)
    faults = Faults(folder / "faults", kinds=part.faults)
    cloud = DistantCloud(folder, after=points.after_effect, faults=faults)
    # Terraform tries again by itself what AWS did not answer; what it cannot get around comes out of `faults`, too.
    for_terraform = DistantCloud(folder, after=points.after_effect)

    def make_life(shop: Shop) -> MarkedLife:
        quick = replace(shop, look_s=0.1, wait=lambda seconds: stop.wait(min(seconds, 0.05)), patience=PATIENCE)
        return MarkedLife(Worker(quick), points)

    world = World(
        cloud=lambda _: cloud,  # type: ignore[arg-type, return-value]  # it has every method of the fake
        terraform=lambda: DistantTerraform(for_terraform, points.after_effect, faults),
        life=make_life,
        agent=make_agent,
        lease=LEASE,
        reap_every=REAP_EVERY,
        reap_pause_s=0.1,
    )
    site = Site(
        project=folder / "project",
        database=part.database,
        # On loopback the watcher asks its queue in short turns.
        settings=CloudSettings(region="us-east-1", account="123456789012", endpoint="http://127.0.0.1:1"),
        backend=LocalBackend(folder=folder / "state"),
        jobs=folder / "jobs",
        terraform=folder / "terraform",
        agents=folder / "agents",
        environment={},
        world=world,
    )
    points.listen()
    {"worker": run_worker, "watcher": run_watcher}[part.role](site, stop)


def make_agent(folder: Path) -> AgentArchive:
    """Return an agent that nobody runs: the machines of the distant cloud are actors."""
    folder.mkdir(parents=True, exist_ok=True)
    path, content = folder / "agent.pyz", b"agent"
    path.write_bytes(content)
    return AgentArchive(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def nurse() -> None:
    """Fork a process for each part that comes in as a line, and tell of each that ends."""
    orders = os.fdopen(0, "rb", buffering=0)  # what a buffer held back, select would not see
    while True:
        ready, _, _ = select.select([orders], [], [], 0.02)
        if ready:
            line = orders.readline()
            if not line:
                return
            pid = os.fork()
            if pid == 0:
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                devnull = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1):
                    os.dup2(devnull, stream)
                try:
                    play(load(Part, line.decode()))
                except BaseException:
                    log.exception("fell")
                    os._exit(1)
                os._exit(0)
            tell(started=pid)
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            continue
        if pid:
            tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def tell(**facts: int) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "nursery":
        nurse()
    else:
        play(Part(role=sys.argv[1], folder=sys.argv[2], database=sys.argv[3]))
