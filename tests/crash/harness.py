"""A whole platform to kill: its world survives in this process, its processes do not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from compiler.load import load_platform
from compiler.names import platform_bucket, queue
from runner.service import digest_of
from state import codec
from state.errors import MayflyError
from state.job import Ending, Job, JobStatus
from state.ledger import Ledger, open_ledger
from state.record import JobRecord
from state.tables import JOB, USAGE
from tests.crash.actors import BAD, Actors, Death
from tests.crash.book import Book
from tests.crash.distant_cloud import CloudHost
from tests.crash.player import Part
from tests.fakes.cloud import FakeCloud

ROOT = Path(__file__).resolve().parents[2]
GROUP, ANALYSIS, BUDGET = "lab1", "toy", Decimal(500)
MOST_FALLS = 60
RELIST_S = 8.0
FILES = {
    "mayfly.yaml": 'name: crash\naccount: "123456789012"\nregion: us-east-1\n',
    "users/lab1.yaml": f"id: {GROUP}\ntitle: One\nanalyses: [{ANALYSIS}]\nbudget: {{amount: {BUDGET}}}\n",
    "blueprints/toy/blueprint.yaml": (
        "id: toy\ntitle: Toy\nstage: public\nresources: [{instance_type: t3.small}, {instance_type: t3.medium}]\n"
        "limits: {duration: 5, cost: 5}\ninputs: {suffixes: [.txt]}\n"
    ),
    "blueprints/toy/environment/requirements.lock": "",
    "blueprints/toy/environment/run.py": "",
}


@dataclass
class Counts:
    """What was done to the platform in a run."""

    jobs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    falls: int = 0
    lost_events: int = 0
    doubled_events: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs; {_spell(self.kills, 'kills')}; {_spell(self.deaths, 'agents died')}; "
            f"{_spell(self.faults, 'calls went wrong')}; {self.restarts} restarts of PostgreSQL; "
            f"{self.lost_events} events lost, {self.doubled_events} delivered twice"
        )


def _spell(counter: Counter[str], what: str) -> str:
    each = ", ".join(f"{count} x {one}" for one, count in sorted(counter.items()))
    return f"{counter.total()} {what}" + (f" ({each})" if each else "")


class Platform:
    """The processes of a platform, kept alive, and everything around them that must outlive them."""

    def __init__(
        self,
        folder: Path,
        database: str,
        *,
        workers: int = 1,
        armed: bool = False,
        only: str = "",
        faults: int = 0,
    ) -> None:
        """Start one; `armed` and `only` are for its kill points, `faults` says how many each call meets."""
        self.folder, self.database = folder, database
        self._part = Part(role="", folder=str(folder), database=database, armed=armed, only=only, faults=faults)
        for name, text in FILES.items():
            path = folder / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.platform = load_platform(folder / "project")
        self.deployment, self.bucket = self.platform.deployment.name, self.platform.bucket(ANALYSIS)
        self.queue = queue(self.deployment)
        self.cloud = FakeCloud(now=lambda: datetime.now(UTC))
        for bucket in (self.bucket, platform_bucket(self.deployment)):
            self.cloud.make_bucket(bucket)
        self.cloud.make_queue(self.queue)
        self.cloud.wire(self.bucket, self.queue)
        self.cloud.register_image(name="toy", digest=digest_of(self.platform, ANALYSIS), architecture="x86_64")
        self.ledger: Ledger = open_ledger(database)
        self.counts, self.random = Counts(), random.Random(1)  # noqa: S311  (a plan that can be repeated)
        self._host = CloudHost(self.cloud, folder)
        self._actors = Actors(self.cloud, self._lookup)
        self.counts.deaths = self._actors.deaths
        self._roles = ["watcher", *["worker"] * workers]
        self._alive: dict[int, str] = {}
        self._starting: list[str] = []
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.player", "nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._news = threading.Thread(target=self._listen, name="news", daemon=True)
        self._news.start()
        for role in self._roles:
            self._start(role)

    # processes

    def _start(self, role: str) -> None:
        part = replace(self._part, role=role)
        assert self._nursery.stdin is not None
        with self._lock:
            self._starting.append(role)
            self._nursery.stdin.write(codec.dump(part).encode() + b"\n")
            self._nursery.stdin.flush()

    def _listen(self) -> None:
        assert self._nursery.stdout is not None
        for line in self._nursery.stdout:
            news = json.loads(line)
            if "started" in news:
                with self._lock:
                    self._alive[news["started"]] = self._starting.pop(0)
                continue
            with self._lock:
                role = self._alive.pop(news["ended"])
            if news["code"] == -signal.SIGKILL:
                self.counts.kills[role] += 1
            else:  # it gave up by itself: PostgreSQL is away, or there is a bug, which the logs tell
                self.counts.falls += 1
                time.sleep(0.3)
            if role == "watcher":
                self.cloud.redeliver(self.queue)  # what it had received and not acknowledged
            with suppress(BrokenPipeError, ValueError):
                self._start(role)

    def kill(self, role: str | None = None) -> None:
        """SIGKILL one of the processes; any when no role is given."""
        with self._lock:
            pids = [pid for pid, known in self._alive.items() if role in {None, known}]
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(pids), signal.SIGKILL)

    def close(self) -> None:
        """End everything."""
        self._nursery.kill()
        self._nursery.wait()
        self._news.join()
        for pipe in (self._nursery.stdin, self._nursery.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._actors.close()
        self._host.close()
        self.ledger.engine.dispose()

    def restart_database(self, restart: Callable[[], None]) -> None:
        """Let the database crash and come back."""
        restart()
        self.ledger.engine.dispose()
        self.counts.restarts += 1

    # the client

    def submit(
        self,
        *,
        datasets: int = 1,
        bad: bool = False,
        refused: bool = False,
        lose_event: bool = False,
        deaths: Sequence[Death] = (),
    ) -> None:
        """Upload and submit as a plain client does; for each of `deaths` there is a dataset more, whose agent dies."""
        number = self.counts.jobs
        self.counts.jobs += 1
        words = [*[BAD if bad else "good"] * datasets, *deaths]
        names = [f"{GROUP}/inputs/{number}-{n}-{word}.txt" for n, word in enumerate(words)]
        for name in names:
            self.cloud.write(self.bucket, name, b"data")
        config = f"{GROUP}/configs/{number}.json"
        self.cloud.write(self.bucket, config, b"{}")
        wanted = names if not refused else [f"{GROUP}/inputs/missing.txt"]
        body = json.dumps({"dataname": wanted, "configname": config, "timestamp": f"t{number}"}).encode()
        with self.cloud.store.changed:
            self.cloud.write(self.bucket, f"{GROUP}/submissions/{number}_submit.json", body)
            waiting = self.cloud.store.queues[self.queue].waiting
            if lose_event and waiting:
                waiting.pop()
                self.counts.lost_events += 1
            elif number % 4 == 0:
                self.cloud.send(self.queue, waiting[-1].body)
                self.counts.doubled_events += 1

    def cancel_one(self) -> None:
        """Ask for some job that runs to be stopped."""
        running = self.ledger.running()
        if running:
            ending = Ending(status=JobStatus.CANCELLED, reason="changed my mind")
            self.ledger.request_cancel(self.random.choice(running).id, ending.reason, datetime.now(UTC))

    def _lookup(self, job: str) -> Job:
        if job not in self._jobs:
            self._jobs[job] = self.ledger.job(job).admitted
        return self._jobs[job]

    # the end

    @property
    def points(self) -> list[str]:
        """The points at which a process has died."""
        return Book(self.folder / "points").lines()

    @property
    def faults(self) -> list[str]:
        """What went wrong, and with which call."""
        return Book(self.folder / "faults").lines()

    def settle_down(self, seconds: float) -> None:
        """Wait until every submission has become a job, every job has ended, and the engine knows it.

        Where calls fail, the watcher is replaced now and then: it looks for what no event announced, and tells what it
        could not tell, when it starts and every five minutes.
        """
        due = time.monotonic() + RELIST_S

        def settled() -> bool:
            nonlocal due
            if self._part.faults and time.monotonic() > due:
                due += RELIST_S
                self.kill("watcher")
            return self._ended() >= self.counts.jobs and not self.ledger.running() and not self._pending()

        self.until(settled, seconds)

    def _ended(self) -> int:
        with self.ledger.engine.connect() as connection:
            done = sa.select(sa.func.count()).where(JOB.c.certified.is_not(None))
            return int(connection.execute(done).scalar() or 0)

    def until(self, found: Callable[[], bool], seconds: float) -> None:
        """Wait for something, for at most `seconds`."""
        end, pause = time.monotonic() + seconds, threading.Event()
        while True:
            with suppress(MayflyError, sa.exc.SQLAlchemyError):  # the database may be away
                if found():
                    return
            if time.monotonic() > end or self.counts.falls > MOST_FALLS:
                raise AssertionError(self.describe())
            pause.wait(0.1)

    def describe(self) -> str:
        """Say what still runs, and what the processes said last."""
        open_ = [f"{one.id} {one.status}" for one in self.ledger.running()]
        logs = [f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log"))]
        return "\n".join([str(self.counts), f"{self._ended()} ended; not ended: {open_}", *logs])

    def check(self) -> None:
        """Hold the platform to what it promises, whatever was done to it."""
        self.counts.faults.update(one.partition(" at ")[0] for one in self.faults)
        records = self.ledger.jobs(limit=100_000)
        assert len(records) == self.counts.jobs, "a submission was lost or became two jobs"
        total = sum((self._check_job(record) for record in records), Decimal(0))
        assert self.ledger.committed(GROUP, None) == total, "money is promised to jobs that have ended"
        assert self.cloud.leftovers(deployment=self.deployment) == []
        assert [path.name for path in (self.folder / "jobs").glob("*")] == [], "workspaces, and so locks, are left"

    def _check_job(self, record: JobRecord) -> Decimal:
        assert record.status.is_final, record
        assert record.status is not JobStatus.DONE or record.id not in self._actors.mourned, record
        assert record.ending is None or "Mayfly itself" not in record.ending.reason, record
        objects = self.cloud.store.objects[record.results.bucket]
        assert record.status in objects[record.results.end][-1][1].decode(), record
        assert objects[record.results.certificate][-1][1], record
        endings = [
            line for line in self.ledger.story(record.id) if line.kind == "status" and line.text == record.status
        ]
        assert len(endings) == 1, record
        with self.ledger.engine.connect() as connection:
            rows = connection.execute(sa.select(USAGE).where(USAGE.c.job == record.id)).all()
        assert all(row.end is not None for row in rows), f"{record.id}: usage that is not settled"
        made = {one.id for one in self.cloud.store.machines.values() if one.job == record.id}
        assert sorted(row.instance for row in rows) == sorted(made), f"{record.id}: machines and usage differ"
        for row in rows:  # held against the cloud's own record, not only against itself
            machine = self.cloud.store.machines[row.instance]
            assert (row.start, row.end) == (machine.launched, machine.ended), f"{record.id}: {row} is not {machine}"
        cost = sum((one.cost for one in self.ledger.usage(record.id, datetime.now(UTC))), Decimal(0))
        assert record.cost == cost, record
        return cost

    def _pending(self) -> int:
        table = "workflow_status" if self.ledger.engine.dialect.name == "sqlite" else "dbos.workflow_status"
        query = sa.text(f"SELECT count(*) FROM {table} WHERE status IN ('PENDING', 'ENQUEUED')")  # noqa: S608
        with self.ledger.engine.connect() as connection:
            return int(connection.execute(query).scalar() or 0)
