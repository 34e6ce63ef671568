"""The worker as a process is put together: it obeys the limits of mayfly.yaml, and it stops when it is told to."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pytest

from runner.agent_build import AgentArchive
from runner.cloud_values import CloudSettings
from runner.engine import Engine
from runner.service import Site, World, run_worker
from runner.shop import Shop
from runner.stopping import Stopping, pause
from state.backend import LocalBackend
from state.database import sqlite_url
from state.ledger import open_ledger
from state.submission import ObjectVersion
from tests.fakes.cloud import FakeCloud
from tests.fakes.jobs import NOW, a_job
from tests.fakes.terraform import FakeTerraform
from tests.runner.test_engine import Script


class Counting(Script):
    """A life that counts how many jobs are in it at once."""

    def __init__(self, diary: Path, shop: Shop, all_over: threading.Event, *, jobs: int) -> None:
        super().__init__(diary)
        self.shop, self.all_over, self.jobs = shop, all_over, jobs
        self.lock, self.now, self.most, self.ended = threading.Lock(), 0, 0, 0
        self.two = threading.Event()

    def note(self, what: str) -> None:
        if what.startswith("monitor"):
            self.two.wait(60)  # for the other one, which may come,
            threading.Event().wait(0.3)  # and for a third, which may not
        with self.lock:
            self.now += what.startswith("prepare") - what.startswith("certify")
            self.ended += what.startswith("certify")
            self.most = max(self.most, self.now)
            if self.now == 2:
                self.two.set()
        if self.ended == self.jobs:
            self.all_over.set()


def a_site(folder: Path, life: World) -> Site:
    return Site(
        project=folder,
        database=sqlite_url(folder / "ledger.db"),
        settings=CloudSettings(region="us-east-1", account="1" * 12),
        backend=LocalBackend(folder=folder),
        jobs=folder / "home" / "jobs",
        terraform=folder,
        agents=folder,
        environment={},
        world=life,
    )


def test_the_engine_runs_as_many_jobs_of_a_group_as_the_deployment_allows(tmp_path: Path) -> None:
    (tmp_path / "mayfly.yaml").write_text(
        'name: demo\naccount: "123456789012"\nregion: us-east-1\nlimits: {jobs_per_group: 2}\n'
    )
    ledger, stop, over, lives = (
        open_ledger(sqlite_url(tmp_path / "ledger.db")),
        threading.Event(),
        threading.Event(),
        [],
    )
    engine = Engine(ledger.engine)
    engine.migrate()
    for number in range(5):
        job, source = a_job(number), ObjectVersion(bucket="demo-pca", key=f"lab1/submissions/{number}", version="1")
        ledger.admit(
            job,
            source=source,
            bound=Decimal(1),
            cap=Decimal(99),
            since=None,
            at=NOW,
            enqueue=lambda connection, job=job: engine.enqueue(connection, job.id, "lab1"),
        )

    def make(shop: Shop) -> Counting:
        lives.append(Counting(tmp_path / "diary", shop, over, jobs=5))
        return lives[0]

    world = World(
        cloud=lambda _: FakeCloud(),
        terraform=FakeTerraform,
        life=make,
        agent=lambda folder: AgentArchive(path=folder / "agent.pyz", sha256="ab" * 32, size=0),
    )
    worker = threading.Thread(target=run_worker, args=(a_site(tmp_path, world), stop), daemon=True)
    worker.start()
    assert over.wait(120)
    shop = lives[0].shop
    assert not shop.stopping()
    stop.set()
    worker.join(60)
    assert not worker.is_alive()
    assert lives[0].most == 2
    assert shop.stopping()
    with pytest.raises(Stopping):
        shop.wait(60)
    engine.stop()
    ledger.engine.dispose()


def test_a_pause_is_cut_short_by_the_end_of_the_process() -> None:
    stop = threading.Event()
    pause(stop, 0)
    stop.set()
    with pytest.raises(Stopping):
        pause(stop, 60)
