"""Many jobs are looked at with few calls, and no machine is missed for it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from runner.monitor import Patience, judge
from runner.observe import Fleet, Observer
from state.chronicle import Tried
from tests.fakes.jobs import NOW, a_job
from tests.runner.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path, a_job())
    made.worker.prepare(made.job.id)
    made.worker.provision(made.job.id)
    made.cloud.store.calls.clear()
    return made


def asked(stage: Stage) -> int:
    return Counter(method for method, _ in stage.cloud.store.calls)["instances"]


def test_the_instances_of_many_jobs_are_one_call(stage: Stage) -> None:
    fleet = Fleet(stage.cloud, "demo")
    eyes = [Observer(stage.cloud, stage.job, fleet, stage.chronicle) for _ in range(20)]
    seen = [one.look(max_age_s=60) for one in eyes]
    assert all(signs.instance is not None for [signs] in seen)
    assert asked(stage) == 1


def test_each_look_that_wants_no_old_news_asks_anew(stage: Stage) -> None:
    eye = Observer(stage.cloud, stage.job, Fleet(stage.cloud, "demo"), stage.chronicle)
    eye.look()
    eye.look()
    assert asked(stage) == 2


def test_a_machine_that_was_made_since_the_last_call_is_not_taken_for_gone(stage: Stage) -> None:
    fleet = Fleet(stage.cloud, "demo")
    eye = Observer(stage.cloud, stage.job, fleet, stage.chronicle)
    eye.look(max_age_s=60)
    [old] = stage.chronicle.attempts(stage.job.id)
    new = stage.cloud.launch(deployment="demo", job=stage.job.id)
    stage.chronicle.mark(old, Tried.STARTED, instance=new)
    [signs] = eye.look(max_age_s=60)
    assert signs.instance is not None
    assert signs.instance.id == new
    assert judge(signs, NOW, Patience()) is None


def test_a_machine_that_ended_is_seen_once_the_old_news_is_too_old(stage: Stage) -> None:
    eye = Observer(stage.cloud, stage.job, Fleet(stage.cloud, "demo"), stage.chronicle)
    [before] = eye.look(max_age_s=1e-6)
    assert before.instance is not None
    stage.cloud.end(before.instance.id)
    [after] = eye.look(max_age_s=1e-6)
    assert after.instance is not None
    assert after.instance.is_gone


def test_progress_may_wait_for_the_next_certificate_but_an_end_may_not(stage: Stage) -> None:
    eye = Observer(stage.cloud, stage.job, Fleet(stage.cloud, "demo"), stage.chronicle)
    certifier, key = stage.worker.shop.certifier, stage.job.status_key(stage.job.tasks[0])

    def says(line: str) -> str:
        text = f'{{"status": "IN PROGRESS", "phase": "running", "stdout": {{"0": "{line}"}}}}'
        stage.cloud.write("demo-pca", key, text.encode())
        stage.now += timedelta(seconds=1)
        certifier.write(stage.job.id, eye.look(), rest=timedelta(seconds=30))
        return stage.text(stage.job.results.certificate)

    assert "LAST COMMAND: one" in says("one")
    assert "LAST COMMAND: one" in says("two")
    stage.now += timedelta(seconds=30)
    assert "LAST COMMAND: three" in says("three")
    stage.report()
    assert "STATUS: SUCCESS" in says("four")
