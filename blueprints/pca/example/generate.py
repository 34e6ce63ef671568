"""Make two example datasets whose principal components are known exactly.

    python generate.py FOLDER [--seed NUMBER]

writes `recording-1.npy`, `recording-2.npy` and, for each, the right answer as `….answer.json`. Needs nothing but
Python, and writes the same bytes for the same seed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Vector = list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a dataset shall be: its name, how many samples, and the variance along each of its components."""

    name: str
    samples: int
    variances: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An array and the right answer.

    Attributes:
        rows: the samples.
        components: orthonormal, one per feature, by falling variance; the largest entry of each is positive.
        variances: of the samples along them, with divisor n - 1.
        mean: of the samples.
    """

    rows: list[Vector]
    components: list[Vector]
    variances: tuple[float, ...]
    mean: Vector


RECIPES = (
    Recipe(name="recording-1", samples=240, variances=(9.0, 4.0, 1.5, *(0.30 / (1 + 0.2 * k) for k in range(9)))),
    Recipe(name="recording-2", samples=400, variances=(16.0, 3.0, *(0.50 / (1 + 0.1 * k) for k in range(18)))),
)


def make_dataset(recipe: Recipe, seed: int) -> Dataset:
    """Make a dataset with exactly the variances asked for.

    The samples are mean + sum_k sqrt(variance_k) z_k component_k, where the z_k are made orthogonal to each other and
    to the constant, with squared length n - 1: so the covariance of the samples, and not only that of the distribution
    they come from, has these components.
    """
    draws = random.Random(f"{recipe.name} {seed}")  # noqa: S311 - an example, not a secret
    features = len(recipe.variances)
    components = [_point(vector) for vector in _orthonormal(draws, features, features)]
    constant = [1 / math.sqrt(recipe.samples)] * recipe.samples
    factors = _orthonormal(draws, features, recipe.samples, beside=[constant])
    mean = [draws.uniform(-5, 5) for _ in range(features)]
    lengths = [math.sqrt(variance * (recipe.samples - 1)) for variance in recipe.variances]
    rows = [
        [
            mean[j] + math.fsum(lengths[k] * factors[k][i] * components[k][j] for k in range(features))
            for j in range(features)
        ]
        for i in range(recipe.samples)
    ]
    return Dataset(rows=rows, components=components, variances=recipe.variances, mean=mean)


def write_npy(path: Path, rows: Sequence[Vector]) -> None:
    """Write rows of numbers as a `.npy` file, format version 1.0: magic, length of the header, header, float64."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    values = array("d", (value for row in rows for value in row))
    if sys.byteorder == "big":
        values.byteswap()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + values.tobytes())


def _orthonormal(draws: random.Random, count: int, size: int, beside: Sequence[Vector] = ()) -> list[Vector]:
    """Draw vectors and make them orthonormal, by Gram and Schmidt, twice because rounding undoes the first time."""
    found: list[Vector] = []
    for _ in range(count):
        vector = [draws.gauss(0, 1) for _ in range(size)]
        for _ in range(2):
            for other in (*beside, *found):
                shadow = math.fsum(a * b for a, b in zip(vector, other, strict=True))
                vector = [a - shadow * b for a, b in zip(vector, other, strict=True)]
            length = math.sqrt(math.fsum(a * a for a in vector))
            vector = [a / length for a in vector]
        found.append(vector)
    return found


def _point(vector: Vector) -> Vector:
    """Turn a vector so that its largest entry is positive, as the analysis does."""
    sign = math.copysign(1.0, max(vector, key=abs))
    return [sign * value for value in vector]


def main(arguments: Sequence[str]) -> int:
    """Write the datasets and their answers."""
    parser = argparse.ArgumentParser(description="Make two datasets whose principal components are known.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        dataset = make_dataset(recipe, options.seed)
        path = options.folder / f"{recipe.name}.npy"
        write_npy(path, dataset.rows)
        answer = {"components": dataset.components, "variances": dataset.variances, "mean": dataset.mean}
        path.with_suffix(".answer.json").write_text(json.dumps(answer) + "\n", encoding="utf-8")
        print(f"{path}: {recipe.samples} samples, {len(recipe.variances)} features")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
