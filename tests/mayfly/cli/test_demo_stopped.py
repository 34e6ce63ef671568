"""`mayfly demo` stopped at every stage, by a person or a full disk: a sentence, nothing running, the next run clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest

from state.errors import EnvironmentMissingError
from state.job import JobStatus
from tests.mayfly.cli.demo_project import LEFT, Project, press

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud, pytest.mark.timeout(600)]

CAN_MOUNT = os.geteuid() == 0 and shutil.which("mount") is not None
SMALL, REFUSED = ("--data", "small.npy"), ("--group", "poor")
STAGES = {
    "the cloud starts": ("^The embedded cloud", ()),
    "an image is built": ("pca: building image", ()),
    "the platform is applied": ("^  base: ", ()),
    "datasets go up": ("^Submitting", SMALL),
    "nobody has seen the job": ("submit.json$", SMALL),
    "machines are made": ("provisioning$", SMALL),
    "tasks run": ("running$", SMALL),
    "results go up": ("uploading$", SMALL),
    "machines go": ("destroying$", SMALL),
    "results are shown": ("^Results", REFUSED),
    "the platform stops": ("^Stopping$", REFUSED),
}
"""What the demo prints in each, in order, and what it runs: a job that is refused gets to the last ones in a second.

The first ones meet a cold project and make what the later ones need.
"""
POOR = """\
id: poor
title: A group without money
members:
  - {name: Pia Example, email: pia@poor.example, role: owner}
budget:
  amount: 0.0001
analyses: [pca]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project whose demos run on a small disk, where one can be made."""
    made = Project(tmp_path_factory.mktemp("stopped"))
    np.save(made.folder / "small.npy", np.random.default_rng(1).normal(size=(20, 4)))
    (made.folder / "users" / "poor.yaml").write_text(POOR)
    made.home.mkdir(parents=True)
    if CAN_MOUNT:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m,mode=0700", "tmpfs", str(made.home)], check=True)
    yield made
    if CAN_MOUNT:
        subprocess.run(["umount", "-l", str(made.home)], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_nothing_running(project: Project, stage: str) -> None:
    pattern, options = STAGES[stage]
    code, said = project.demo_until(pattern, press, "demo", *options)

    assert code == 130, said
    assert "Traceback" not in said
    assert project.processes() == []


def test_a_second_ctrl_c_is_answered_and_changes_nothing(project: Project) -> None:
    with project.begin("demo", *SMALL) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            # From here on there is a cloud to be stopped, which takes long enough for a second one to arrive in.
            if line.startswith(("Submitting", "Stopping …")):
                press(process.pid)

    assert process.returncode == 130, said
    assert "Already stopping …\n" in said
    assert project.processes() == []


@pytest.fixture
def fill(project: Project) -> Iterator[Callable[[], None]]:
    """Return what fills the demos' disk to the last byte, until the test is over."""
    if not CAN_MOUNT:
        pytest.skip("needs a small disk to fill")
    path = project.home / "filler"

    def write() -> None:
        with path.open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while filler.write(b"x" * size) == size:
                        pass

    yield write
    path.unlink(missing_ok=True)


def test_a_disk_that_is_full_before_is_a_sentence(project: Project, fill: Callable[[], None]) -> None:
    fill()
    done = project.demo(*SMALL)

    assert done.returncode == EnvironmentMissingError.exit_code, done.stdout + done.stderr
    assert re.match(f"{project.home}.*: the disk is full", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert project.processes() == []


def test_a_disk_that_fills_up_during_the_job_is_a_sentence(project: Project, fill: Callable[[], None]) -> None:
    code, said = project.demo_until("provisioning$", lambda _: fill(), "demo", *SMALL)

    assert code == EnvironmentMissingError.exit_code, said
    assert re.match(f"{project.home}.*: the disk is full", said.splitlines()[-1])
    assert "Traceback" not in said
    assert project.processes() == []


def test_the_next_demo_ends_what_was_stopped(project: Project) -> None:
    done = project.demo(*SMALL)

    assert done.returncode == 0, done.stdout + done.stderr
    assert LEFT in done.stdout
    assert "base: unchanged since it was applied" in done.stdout
    statuses = [record.status for record in project.records()]
    assert all(status.is_final for status in statuses)
    # Those stopped later may have had their ending already, and a full disk may keep no wish.
    assert statuses.count(JobStatus.CANCELLED) >= len(["nobody has seen the job", "machines are made", "tasks run"])
