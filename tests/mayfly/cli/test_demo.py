"""`mayfly demo` for real: from nothing to a result, with own data, stopped in the middle, and as CONTRIBUTING says."""

from __future__ import annotations

import json
import re
import textwrap

import numpy as np
import pytest

from state.errors import EnvironmentMissingError, JobError, SubmissionError
from tests.mayfly.cli.demo_project import LEFT, REPOSITORY, Project, path_without

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud, pytest.mark.timeout(600)]


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


def test_own_data_with_blanks_in_its_path(project: Project) -> None:
    data = np.random.default_rng(7).normal(size=(100, 15)) * np.arange(1, 16)
    (project.folder / "my lab").mkdir()
    np.save(project.folder / "my lab" / "my data.npy", data)
    (project.folder / "my lab" / "my settings.yaml").write_text("n_components: 15\n")

    done = project.demo("--data", "my lab/my data.npy", "--config", "my lab/my settings.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert LEFT in done.stdout
    assert "base: unchanged since it was applied" in done.stdout
    found = np.load(project.results(done.stdout) / "components.npy")
    known = np.linalg.svd(data - data.mean(axis=0), full_matrices=False)[2]
    signs = np.sign(np.sum(found * known, axis=1, keepdims=True))
    assert np.allclose(found * signs, known, atol=1e-8)


def test_data_that_cannot_be_used_fails_in_sentences(project: Project) -> None:
    np.save(project.folder / "hole.npy", np.array([[1.0, np.nan], [2.0, 3.0]]))
    np.save(project.folder / "single.npy", np.ones((1, 4)))
    (project.folder / "words.npy").write_text("not numbers")

    done = project.demo("--data", "hole.npy", "--data", "single.npy", "--data", "words.npy")

    assert done.returncode == JobError.exit_code, done.stdout + done.stderr
    assert LEFT in done.stdout
    folder = project.results(done.stdout)
    told = [(folder / "end.txt").read_text(), (folder.parent / "logs" / "certificate.txt").read_text()]
    for text in (done.stderr, *told):
        for reason in (
            "hole.npy holds one value that is not a finite number, the first at [0, 1]",
            "single.npy has one sample, and a variance needs two at least",
            "words.npy is not a .npy file but something else; save the array with numpy.save",
        ):
            assert reason in text


@pytest.fixture(scope="module")
def bare_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the PATH of a machine that cannot keep instances apart."""
    return path_without(tmp_path_factory.mktemp("bare") / "bin", "bwrap", "unshare")


def test_two_demos_beside_each_other_share_neither_home_nor_port(project: Project, bare_path: str) -> None:
    """The second one has no sandbox: what comes with Mayfly runs all the same."""
    with project.begin("demo") as first, project.begin("demo", PATH=bare_path) as second:
        said = [str(process.communicate()[0]) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0), "\n\n".join(said)
    assert all(LEFT in text for text in said)
    homes, ports = (
        {found for text in said for found in re.findall(pattern, text)}
        for pattern in (r"(?m)in (\S+)\.$", r"127\.0\.0\.1:(\d+)")
    )
    assert homes == {".mayfly/demo", ".mayfly/demo-2"}
    assert len(ports) == 2
    assert "NO SANDBOX: instances of pca are plain processes of yours" in said[1]


def test_without_a_sandbox_a_changed_analysis_is_refused_before_anything_is_deployed(
    project: Project, bare_path: str
) -> None:
    entry = project.folder / "blueprints" / "pca" / "environment" / "run.py"
    known = entry.read_text()
    entry.write_text(f"{known}# mine\n")

    done = project.demo(PATH=bare_path)

    entry.write_text(known)
    assert done.returncode == EnvironmentMissingError.exit_code, done.stdout + done.stderr
    assert "only what comes with Mayfly runs, unchanged: pca does not" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "base" not in done.stdout
    assert project.processes() == []


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
