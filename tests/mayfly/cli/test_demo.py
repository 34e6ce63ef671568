"""`mayfly demo` for real: from nothing to a result, with own data, stopped in the middle, and as CONTRIBUTING says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from state.database import sqlite_url
from state.errors import SubmissionError
from state.job import JobStatus
from state.ledger import open_ledger

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
LEFT = "job resources left: 0"


class Project:
    """The repository's own project in a folder of its own; deployed by the first demo, warm for the others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / ".mayfly" / "demo"
        shutil.copy(REPOSITORY / "mayfly.yaml", folder)
        for name in ("users", "blueprints"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def demo(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(BIN / "mayfly"), "demo", *options])

    def demo_until(self, word: str) -> tuple[int, str]:
        """Run a demo, press Ctrl-C when it prints a word, and return how it ended."""
        process = subprocess.Popen(
            [BIN / "mayfly", "demo"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        with process:
            for line in process.stdout:
                said.append(line)
                if word in line:
                    process.send_signal(signal.SIGINT)
                    word = "\0"  # once is enough
        return process.returncode, "".join(said)

    def processes(self) -> list[str]:
        """Every process that has to do with this project."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in words or str(self.folder) in (process.info["cwd"] or ""):
                found.append(words)
        return found

    def results(self, said: str) -> Path:
        match = re.search(r"files +\d+ in (.*)", said)
        assert match is not None, said
        return self.folder / match[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("demo"))


def test_from_nothing_to_a_result(project: Project) -> None:
    done = project.demo()

    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("base: 11 added", "submitted", "admitted", "provisioning", "destroying", "done", "certificate", LEFT):
        assert words in done.stdout
    results = project.results(done.stdout)
    for answer in (project.home / "example" / "pca").glob("*.answer.json"):
        found = np.load(results / f"{answer.name.removesuffix('.answer.json')}.npy" / "components.npy")
        known = np.array(json.loads(answer.read_text())["components"])[: len(found)]
        assert np.allclose(np.abs(found), np.abs(known), atol=1e-8)
    assert list(results.rglob("scree.png"))
    assert project.processes() == []


def test_stopped_in_the_middle(project: Project) -> None:
    code, said = project.demo_until("provisioning")

    assert code == 130, said
    assert "Traceback" not in said
    assert project.processes() == []


def test_own_data_after_a_run_that_was_stopped(project: Project) -> None:
    data = np.random.default_rng(7).normal(size=(100, 15)) * np.arange(1, 16)
    np.save(project.folder / "mine.npy", data)
    (project.folder / "mine.yaml").write_text("n_components: 15\n")

    done = project.demo("--data", "mine.npy", "--config", "mine.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert LEFT in done.stdout
    assert "base: unchanged since it was applied" in done.stdout
    found = np.load(project.results(done.stdout) / "components.npy")
    known = np.linalg.svd(data - data.mean(axis=0), full_matrices=False)[2]
    signs = np.sign(np.sum(found * known, axis=1, keepdims=True))
    assert np.allclose(found * signs, known, atol=1e-8)
    records = open_ledger(sqlite_url(project.home / "ledger.db")).jobs()
    assert all(record.status.is_final for record in records)
    assert JobStatus.CANCELLED in {record.status for record in records}


def test_a_dataset_of_the_wrong_kind_is_refused_in_a_sentence(project: Project) -> None:
    (project.folder / "notes.txt").write_text("not numbers")

    done = project.demo("--data", "notes.txt")

    assert done.returncode == SubmissionError.exit_code
    assert ".npy" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.processes() == []


def test_contributing_word_for_word(project: Project) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    section = text[text.index("## Add a blueprint") : text.index("## Add a room")]
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?ms)^   ```sh\n(.*?)^   ```", section)]
    assert len(blocks) == 5

    done = project.run(["bash", "-euc", "\n".join(blocks)])

    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 words, 4 different ones" in done.stdout
    assert LEFT in done.stdout
    counts = next(project.results(done.stdout).rglob("counts.json"))
    assert json.loads(counts.read_text()) == {"to": 2, "be": 2, "or": 1, "not": 1}
