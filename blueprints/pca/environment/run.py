"""Principal component analysis of one `.npy` array of shape (samples, features).

Called as `run.py manifest.json`; the manifest names the input, the parameters and the folder for results. When the
data or the parameters are wrong it writes one sentence to the file named by MAYFLY_REASON and ends with status 2.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_file import BadInputError, read_array
from numpy.typing import NDArray

BAD_INPUT = 2
RESAMPLES = 200
RESAMPLING_BUDGET = 2e11
"""Multiplications to spend on confidence intervals, about ten seconds of one CPU."""

FEWEST_RESAMPLES = 40
CONFIDENCE = 95

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the config asks for.

    Attributes:
        n_components: how many components to keep.
        whiten: whether scores are scaled to unit variance.
        seed: of the resampling behind the confidence intervals; components and scores do not depend on it.
    """

    n_components: int = 2
    whiten: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The principal components of an array of `n` samples and `p` features; r = min(n, p).

    Attributes:
        mean: mean of the samples, (p,).
        axes: all components, (r, p), orthonormal rows, by falling variance.
        scores: the centred samples along them, (n, r).
        variance: of each component, (r,), with divisor n - 1.
        rank: how many components have a variance that rounding cannot explain.
    """

    mean: Array
    axes: Array
    scores: Array
    variance: Array
    rank: int

    @property
    def ratio(self) -> Array:
        """Share of the total variance, (r,)."""
        return self.variance / self.variance.sum()


def main(arguments: list[str]) -> int:
    """Run the analysis, or say in one sentence why that is impossible."""
    manifest = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        analyse(manifest)
    except BadInputError as error:
        reason = str(error)
    except MemoryError:
        reason = "The machine does not have enough memory for this array; choose a larger instance type."
    else:
        return 0
    if path := os.environ.get("MAYFLY_REASON"):
        Path(path).write_text(reason + "\n", encoding="utf-8")
    print(reason, file=sys.stderr)
    return BAD_INPUT


def analyse(manifest: Mapping[str, Any]) -> None:
    """Read, compute, write.

    Raises:
        BadInputError: the data or the parameters cannot be used.
    """
    parameters = read_parameters(manifest["parameters"])
    path, results = choose_input(manifest["inputs"]), Path(manifest["results"])
    data = read_array(path)
    print(f"read {path.name}: {data.shape[0]} samples, {data.shape[1]} features, {data.dtype}")
    check_components(parameters, data.shape)
    found = find_components(data)
    print(f"decomposed: rank {found.rank}, total variance {found.variance.sum():.6g}")
    if parameters.whiten and parameters.n_components > found.rank:
        raise BadInputError(
            f"Scores cannot be whitened along {parameters.n_components} components: the data varies along "
            f"{found.rank} only. Choose n_components up to {found.rank}, or whiten: false."
        )
    bounds = resample_ratios(found, parameters.seed)
    if bounds is None:
        print("the array is too large for confidence intervals in reasonable time: they are left out")
    write_results(results, path.name, found, bounds, parameters)
    write_plot(results / "scree.png", path.name, found, bounds, parameters)
    kept = found.ratio[: parameters.n_components]
    print(f"done: {parameters.n_components} components explain {100 * kept.sum():.2f} % of the variance")


def read_parameters(raw: Mapping[str, Any]) -> Parameters:
    """Check the parameters; the platform did so too, but this file also runs without it.

    Raises:
        BadInputError: one is unknown or of the wrong kind.
    """
    if unknown := sorted(set(raw) - set(Parameters.__dataclass_fields__)):
        raise BadInputError(f"There is no parameter {unknown[0]!r}; there are n_components, whiten and seed.")
    parameters = Parameters(**raw)
    for name, least in (("n_components", 1), ("seed", 0)):
        value = getattr(parameters, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadInputError(f"{name} is {value!r} and must be a whole number, at least {least}.")
    if not isinstance(parameters.whiten, bool):
        raise BadInputError(f"whiten is {parameters.whiten!r} and must be true or false.")
    return parameters


def choose_input(inputs: list[str]) -> Path:
    """Return the one input file.

    Raises:
        BadInputError: it is a folder.
    """
    path = Path(inputs[0])
    if path.is_dir():
        raise BadInputError(f"{path.name} is a folder, and this analysis takes one .npy file.")
    return path


def check_components(parameters: Parameters, shape: tuple[int, ...]) -> None:
    """Refuse more components than the data can have.

    Raises:
        BadInputError: n samples around their mean span n - 1 dimensions at most, and p features p.
    """
    samples, features = shape
    most = min(samples - 1, features)
    if parameters.n_components > most:
        raise BadInputError(
            f"n_components is {parameters.n_components}, and {samples} samples of {features} features have at most "
            f"{most} principal components."
        )


def find_components(data: Array) -> Components:
    """Find the principal components by the singular value decomposition of the centred data.

    With X = U S V^H the components are the rows of V^H, the scores U S and the variances S^2 / (n - 1). The sign of a
    component is arbitrary; it is chosen so that its largest entry is positive, and the same data gives the same signs.

    Raises:
        BadInputError: all samples are equal, or their spread is too large for float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean = data.mean(axis=0)
        left, singular, axes = np.linalg.svd(scale_safely(data - mean), full_matrices=False)
        variance = singular**2 / (data.shape[0] - 1)
    # What rounding makes of equal samples, by the rule of numpy.linalg.matrix_rank against the data's own size.
    noise = np.abs(data).max() * np.sqrt(data.size) * np.finfo(np.float64).eps
    if singular[0] <= noise:
        raise BadInputError("All samples are the same, so there is no variance to explain.")
    rank = int((singular > singular[0] * max(data.shape) * np.finfo(np.float64).eps).sum())
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    phase = largest / np.abs(largest)
    return Components(
        mean=mean, axes=axes / phase[:, None], scores=left * singular * phase, variance=variance, rank=rank
    )


def scale_safely(centred: Array) -> Array:
    """Return centred data as it is when its squares fit into float64.

    Raises:
        BadInputError: they do not.
    """
    largest = np.abs(centred).max()
    if not np.isfinite(largest) or largest > np.sqrt(np.finfo(np.float64).max / centred.size):
        raise BadInputError("The values are so large that their variance does not fit into 64-bit numbers; scale them.")
    return centred


def resample_ratios(found: Components, seed: int) -> Array | None:
    """Estimate how far the explained shares would move with other samples: a percentile bootstrap.

    Samples are drawn with replacement. A drawn set's variances are the eigenvalues of the covariance of its scores,
    an (r, r) matrix, so no set needs a decomposition of the data itself.

    Args:
        found: the components of the data.
        seed: of the draws.

    Returns:
        lower and upper bound of each share, (2, r); None when the array is too large for that.
    """
    scores = found.scores[:, : found.rank]
    samples, rank = scores.shape
    count = min(RESAMPLES, int(RESAMPLING_BUDGET / (samples * rank**2 + 10 * rank**3)))
    if count < FEWEST_RESAMPLES:
        return None
    draws = np.random.default_rng(seed)
    ratios = np.zeros((count, len(found.variance)))
    for index in range(count):
        weight = draws.multinomial(samples, np.full(samples, 1 / samples))
        centre = weight @ scores / samples
        covariance = (scores.conj().T * weight) @ scores - samples * np.outer(centre.conj(), centre)
        values = np.clip(np.linalg.eigvalsh(covariance)[::-1], 0, None)
        total = values.sum()
        ratios[index, :rank] = values / total if total > 0 else 0
    tail = (100 - CONFIDENCE) / 2
    bounds: Array = np.percentile(ratios, [tail, 100 - tail], axis=0)
    return bounds


def write_results(folder: Path, name: str, found: Components, bounds: Array | None, parameters: Parameters) -> None:
    """Write arrays, tables and the summary."""
    count = parameters.n_components
    scores = found.scores[:, :count]
    if parameters.whiten:
        scores = scores / np.sqrt(found.variance[:count])
    np.save(folder / "components.npy", found.axes[:count])
    np.save(folder / "scores.npy", scores)
    np.save(folder / "mean.npy", found.mean)
    labels = [f"pc{number}" for number in range(1, count + 1)]
    if np.iscomplexobj(scores):
        columns = [part for label in labels for part in (f"{label}_re", f"{label}_im")]
        table = np.ascontiguousarray(scores).view(np.float64)
    else:
        columns, table = labels, scores
    np.savetxt(folder / "scores.csv", table, fmt="%.10g", delimiter=",", header=",".join(columns), comments="")
    shares = found.ratio
    with (folder / "explained_variance.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["component", "variance", "ratio", "cumulative", "ratio_low", "ratio_high"])
        for index in range(count):
            interval = ["", ""] if bounds is None else [repr(float(bound)) for bound in bounds[:, index]]
            figures = (found.variance[index], shares[index], shares[: index + 1].sum())
            rows.writerow([index + 1, *(repr(float(figure)) for figure in figures), *interval])
    summary = {
        "dataset": name,
        "samples": int(found.scores.shape[0]),
        "features": int(found.mean.shape[0]),
        "rank": found.rank,
        "n_components": count,
        "whiten": parameters.whiten,
        "seed": parameters.seed,
        "total_variance": float(found.variance.sum()),
        "explained_variance": [float(value) for value in found.variance[:count]],
        "explained_variance_ratio": [float(value) for value in shares[:count]],
        "explained_together": float(shares[:count].sum()),
        "confidence_percent": None if bounds is None else CONFIDENCE,
        "numpy": np.__version__,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def write_plot(path: Path, name: str, found: Components, bounds: Array | None, parameters: Parameters) -> None:
    """Draw the explained shares, and the samples along the first two components."""
    # Imported here: a wrong dataset is told half a second sooner.
    from scree import draw  # noqa: PLC0415

    draw(
        path,
        title=name,
        ratio=found.ratio,
        bounds=bounds,
        kept=parameters.n_components,
        scores=found.scores[:, : min(2, parameters.n_components)],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
