"""The example analysis, as its entry point sees the world: a manifest in, files and an exit status out."""

from __future__ import annotations

import csv
import importlib.util
import json
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.iae.process import task_environment
from runner.image import build, recipe_digest, verify

PCA = Path(__file__).resolve().parents[2] / "blueprints" / "pca"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pca_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sys.modules["array_file"] = load(PCA / "environment/array_file.py")
run = load(PCA / "environment/run.py")
generate = load(PCA / "example/generate.py")


class Analysis:
    """Runs the entry point in this process. Plots are drawn by a stand-in: matplotlib lives in the image only."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.results.mkdir()
        self.drawn: dict[str, Any] = {}
        self.capsys = capsys
        scree = ModuleType("scree")
        scree.draw = lambda path, **facts: self.drawn.update(facts, path=path)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "scree", scree)
        monkeypatch.setenv("MAYFLY_REASON", str(folder / "reason.txt"))

    def run(self, data: Any, **parameters: Any) -> int:
        path = data if isinstance(data, Path) else self.folder / "data.npy"
        if path is not data:
            np.save(path, data)
        manifest = self.folder / "manifest.json"
        manifest.write_text(
            json.dumps({"inputs": [str(path)], "parameters": parameters, "results": str(self.results), "task": 0})
        )
        status: int = run.main([str(manifest)])
        return status

    def refused(self, data: Any, **parameters: Any) -> str:
        assert self.run(data, **parameters) == 2
        reason = (self.folder / "reason.txt").read_text().strip()
        assert self.capsys.readouterr().err.strip() == reason
        assert "\n" not in reason
        assert list(self.results.iterdir()) == []
        return reason

    def array(self, name: str) -> Any:
        return np.load(self.results / f"{name}.npy")


@pytest.fixture
def analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Analysis:
    return Analysis(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def draws() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.mark.parametrize(("samples", "features"), [(100, 15), (30, 200), (12, 12), (500, 3)])
def test_it_finds_what_numpys_svd_finds(analysis: Analysis, samples: int, features: int) -> None:
    data = (
        np.random.default_rng(samples).normal(size=(samples, features)) @ np.diag(np.linspace(3, 0.5, features)) + 100
    )
    count = min(samples - 1, features, 5)
    assert analysis.run(data, n_components=count) == 0
    _, singular, axes = np.linalg.svd(data - data.mean(axis=0), full_matrices=False)
    found = analysis.array("components")
    assert found.shape == (count, features)
    signs = np.sign((found * axes[:count]).sum(axis=1))
    assert np.abs(found - signs[:, None] * axes[:count]).max() < 1e-8
    np.testing.assert_allclose(analysis.array("scores"), (data - data.mean(axis=0)) @ found.T, atol=1e-8)
    with (analysis.results / "explained_variance.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(
        [float(row["variance"]) for row in rows], singular[:count] ** 2 / (samples - 1), rtol=1e-10
    )
    ratio = [float(row["ratio"]) for row in rows]
    np.testing.assert_allclose(np.cumsum(ratio), [float(row["cumulative"]) for row in rows], rtol=1e-10)
    assert all(float(row["ratio_low"]) <= float(row["ratio_high"]) for row in rows)
    np.testing.assert_allclose(
        np.loadtxt(analysis.results / "scores.csv", delimiter=",", skiprows=1, ndmin=2),
        analysis.array("scores"),
        rtol=1e-8,
    )


def test_the_example_data_has_the_answer_that_is_written_beside_it(analysis: Analysis, tmp_path: Path) -> None:
    generate.main([str(tmp_path / "example")])
    for recipe in generate.RECIPES:
        path = tmp_path / "example" / f"{recipe.name}.npy"
        answer = json.loads(path.with_suffix(".answer.json").read_text())
        assert analysis.run(path, n_components=3, seed=7) == 0
        # Not up to sign: the answer follows the same rule for signs.
        assert np.abs(analysis.array("components") - np.array(answer["components"])[:3]).max() < 1e-10
        assert np.abs(analysis.array("mean") - np.array(answer["mean"])).max() < 1e-10
        summary = json.loads((analysis.results / "summary.json").read_text())
        np.testing.assert_allclose(summary["explained_variance"], answer["variances"][:3], rtol=1e-10)
        assert summary["total_variance"] == pytest.approx(sum(answer["variances"]))
        assert summary["rank"] == len(recipe.variances)


def test_the_example_data_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        generate.main([str(tmp_path / name), "--seed", str(seed)])
    contents = [(tmp_path / name / "recording-1.npy").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    assert len(list((tmp_path / "a").glob("*.npy"))) == 2


def test_whitened_scores_have_unit_variance(analysis: Analysis, draws: np.random.Generator) -> None:
    assert analysis.run(draws.normal(size=(50, 4)) * [9, 3, 1, 0.1], n_components=4, whiten=True) == 0
    np.testing.assert_allclose(np.cov(analysis.array("scores").T), np.eye(4), atol=1e-10)


def test_the_same_data_gives_the_same_bytes_and_the_seed_moves_only_the_intervals(
    analysis: Analysis, draws: np.random.Generator
) -> None:
    data = draws.normal(size=(40, 6))
    outcomes = []
    for seed in (3, 3, 4):
        analysis.run(data, seed=seed)
        outcomes.append({path.name: path.read_bytes() for path in analysis.results.iterdir()})
    assert outcomes[0] == outcomes[1]
    assert {name for name in outcomes[0] if outcomes[0][name] != outcomes[2][name]} == {
        "explained_variance.csv",
        "summary.json",
    }


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    draws = np.random.default_rng(1)
    truth = 4 / (4 + 1 + 1)
    inside = 0
    for _ in range(60):
        found = run.find_components(draws.normal(size=(200, 3)) * [2, 1, 1])
        low, high = run.resample_ratios(found, seed=0)[:, 0]
        inside += low <= truth <= high
    assert inside >= 50


def test_intervals_are_left_out_when_they_would_take_too_long(analysis: Analysis, draws: np.random.Generator) -> None:
    assert analysis.run(draws.normal(size=(820, 820)), n_components=2) == 0
    assert analysis.drawn["bounds"] is None
    assert "too large for confidence intervals" in analysis.capsys.readouterr().out
    assert (analysis.results / "explained_variance.csv").read_text().splitlines()[1].endswith(",,")


@pytest.mark.parametrize("kind", ["int8", "uint64", "bool", "float16", "float32", "longdouble", ">f8"])
def test_every_kind_of_number_is_taken(analysis: Analysis, draws: np.random.Generator, kind: str) -> None:
    data = (draws.normal(size=(30, 4)) * 20).round().clip(0, 100).astype(kind)
    assert analysis.run(data) == 0
    assert analysis.array("components").dtype == np.float64


def test_complex_numbers_stay_complex(analysis: Analysis, draws: np.random.Generator) -> None:
    data = draws.normal(size=(40, 5)) + 1j * draws.normal(size=(40, 5))
    assert analysis.run(data, n_components=2) == 0
    axes, scores = analysis.array("components"), analysis.array("scores")
    np.testing.assert_allclose(axes @ axes.conj().T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose((data - data.mean(axis=0)) @ axes.conj().T, scores, atol=1e-10)
    assert (analysis.results / "scores.csv").read_text().startswith("pc1_re,pc1_im,pc2_re,pc2_im\n")
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    np.testing.assert_allclose(largest.imag, 0, atol=1e-12)
    assert (largest.real > 0).all()


def test_fortran_order_and_dependent_features(analysis: Analysis, draws: np.random.Generator) -> None:
    base = draws.normal(size=(30, 2))
    data = np.asfortranarray(np.hstack([base, base @ [[1.0], [2.0]], np.zeros((30, 1))]))
    assert analysis.run(data, n_components=3) == 0
    assert json.loads((analysis.results / "summary.json").read_text())["rank"] == 2
    for path in analysis.results.iterdir():
        path.unlink()
    assert "the data varies along 2 only" in analysis.refused(data, n_components=3, whiten=True)


def test_progress_is_printed(analysis: Analysis) -> None:
    analysis.run(np.eye(5))
    lines = analysis.capsys.readouterr().out.splitlines()
    assert lines[0] == "read data.npy: 5 samples, 5 features, float64"
    assert lines[-1].startswith("done: 2 components explain")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((0, 3)), "it has 0 samples and 3 features"),
        (np.zeros((3, 0)), "it has 3 samples and 0 features"),
        (np.zeros(5), "has 1 dimensions (5,), and two are needed: (samples, features)"),
        (np.zeros((2, 3, 4)), "has 3 dimensions"),
        (np.array(3.0), "has 0 dimensions"),
        (np.ones((1, 4)), "has one sample"),
        (np.ones((5, 4)), "All samples are the same"),
        (np.full((5, 4), 0.1), "All samples are the same"),
        (np.array([[1.0, 2], [np.nan, 3], [4, 5]]), "one value that is not a finite number, the first at [1, 0]"),
        (np.array([[1.0, np.inf], [-np.inf, 3]]), "2 values that are not a finite number, the first at [0, 1]"),
        (np.array([[1e300, 0], [-1e300, 1], [0, 0]]), "does not fit into 64-bit numbers"),
        (np.array([["a", "b"], ["c", "d"]]), "holds <U1 values"),
        (np.zeros(3, dtype=[("x", "f8")]).reshape(3, 1), "numbers are needed"),
        (np.array([["2026-11-22"], ["2026-11-23"]], dtype="datetime64[D]"), "numbers are needed"),
    ],
)
def test_data_that_cannot_be_used(analysis: Analysis, data: Any, words: str) -> None:
    assert words in analysis.refused(data, n_components=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file"),
        (b"1,2,3\n4,5,6\n", "is not a .npy file but something else"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "is damaged or cut off"),
        (pickle.dumps([1, 2, 3]), "is not a .npy file"),
    ],
)
def test_a_file_that_is_no_array(analysis: Analysis, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "wrong.npy"
    path.write_bytes(content)
    reason = analysis.refused(path)
    assert reason.startswith("wrong.npy")
    assert words in reason


def test_an_array_that_is_cut_off(analysis: Analysis, tmp_path: Path) -> None:
    path = tmp_path / "cut.npy"
    np.save(path, np.zeros((100, 10)))
    path.write_bytes(path.read_bytes()[:-8])
    assert "cut.npy is damaged or cut off" in analysis.refused(path)


def test_python_objects_are_never_loaded(analysis: Analysis, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    np.save(tmp_path / "bomb.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    assert "holds Python objects" in analysis.refused(tmp_path / "bomb.npy")
    assert not (tmp_path / "exploded").exists()


def test_an_archive_of_arrays_is_named(analysis: Analysis, tmp_path: Path) -> None:
    path = tmp_path / "several.npy"
    with path.open("wb") as file:
        np.savez(file, a=np.eye(3))
    assert ".npz" in analysis.refused(path)


def test_a_folder_is_named(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert "set is a folder" in analysis.refused(tmp_path / "set")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n_components": 0}, "n_components is 0 and must be a whole number, at least 1"),
        ({"n_components": "three"}, "n_components is 'three'"),
        ({"n_components": 2.0}, "n_components is 2.0"),
        ({"n_components": True}, "n_components is True"),
        ({"n_components": 10**9}, "n_components is 1000000000, and 6 samples of 9 features have at most 5 principal"),
        ({"n_components": 6}, "at most 5 principal components"),
        ({"whiten": "yes"}, "whiten is 'yes'"),
        ({"seed": -1}, "seed is -1"),
        ({"components": 3}, "no parameter 'components'"),
    ],
)
def test_parameters_that_cannot_be(analysis: Analysis, parameters: dict[str, Any], words: str) -> None:
    assert words in analysis.refused(np.random.default_rng(0).normal(size=(6, 9)), **parameters)


def test_the_lock_serves_every_python_and_processor_we_promise() -> None:
    lock = (PCA / "environment/requirements.lock").read_text()
    assert "numpy==" in lock
    assert "matplotlib==" in lock
    entries = re.split(r"\n(?=[a-z])", lock)
    assert len(entries) > 10
    assert all("--hash=sha256:" in entry and "==" in entry for entry in entries)
    recipe_digest(PCA / "environment")


def test_the_generator_is_a_program(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["generate.py", str(tmp_path / "made")])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(PCA / "example/generate.py"), run_name="__main__")
    assert ended.value.code == 0
    assert np.load(tmp_path / "made/recording-1.npy").shape == (240, 12)


@pytest.mark.slow
def test_the_real_environment_draws_the_real_plot(tmp_path: Path) -> None:
    image = build(PCA / "environment", tmp_path / "images")
    generate.main([str(tmp_path)])
    path = tmp_path / "price $100 $ ü.npy"
    (tmp_path / "recording-1.npy").rename(path)
    for count, name in ((3, "three"), (1, "one")):
        (tmp_path / name).mkdir()
        manifest = {"inputs": [str(path)], "parameters": {"n_components": count}, "results": str(tmp_path / name)}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        subprocess.run(
            [image.path / "venv/bin/python", image.path / "files/run.py", tmp_path / "manifest.json"],
            env=task_environment({}, tmp_path, tmp_path / "reason"),
            check=True,
            timeout=120,
        )
        assert {p.name for p in (tmp_path / name).iterdir()} == {
            "components.npy", "mean.npy", "scores.npy", "scores.csv", "explained_variance.csv", "scree.png",
            "summary.json",
        }  # fmt: skip
        picture = (tmp_path / name / "scree.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000
    verify(tmp_path / "images", image.digest)  # a run leaves no trace in its image
