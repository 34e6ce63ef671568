"""Read a `.npy` file that somebody else wrote: no code of it is run, and what is wrong is said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class BadInputError(Exception):
    """The data or the parameters cannot be used; the message is for the person who submitted them."""


def read_array(path: Path) -> Array:
    """Read an array and check that principal components of it make sense. Whole numbers become float64.

    Raises:
        BadInputError: it is not a plain array of numbers of shape (samples, features), two samples at least.
    """
    name = path.name
    if path.stat().st_size == 0:
        raise BadInputError(f"{name} is an empty file.")
    try:
        # Python objects inside an array would be unpickled, which can run any code.
        data = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadInputError(explain_unreadable(path, error)) from error
    if not isinstance(data, np.ndarray):
        raise BadInputError(f"{name} is an archive of several arrays (.npz); save one array with numpy.save.")
    if data.ndim != 2:  # noqa: PLR2004 - samples and features
        raise BadInputError(f"{name} has {data.ndim} dimensions {data.shape}, and two are needed: (samples, features).")
    if data.dtype.kind not in "biufc":
        raise BadInputError(f"{name} holds {data.dtype} values, and numbers are needed.")
    samples, features = data.shape
    if not features or not samples:
        raise BadInputError(f"{name} is empty: it has {samples} samples and {features} features.")
    if samples == 1:
        raise BadInputError(f"{name} has one sample, and a variance needs two at least.")
    wanted = np.complex128 if data.dtype.kind == "c" else np.float64
    with np.errstate(over="ignore"):  # long doubles may not fit: they become infinite and are refused below
        data = data.astype(wanted, copy=False)
    finite = np.isfinite(data)
    if not finite.all():
        sample, feature = np.argwhere(~finite)[0]
        count = finite.size - int(finite.sum())
        values = "one value that is" if count == 1 else f"{count} values that are"
        raise BadInputError(
            f"{name} holds {values} not a finite number, the first at [{sample}, {feature}]; "
            "remove or fill in such samples first."
        )
    return data


def explain_unreadable(path: Path, error: Exception) -> str:
    """Say in one sentence why numpy cannot read a file."""
    with path.open("rb") as file:
        start = file.read(6)
    if start != b"\x93NUMPY":
        kind = {b"\x89HDF": "an HDF5 file", b"MATLAB": "a MATLAB file", b"PK\x03\x04": "a damaged .npz archive"}
        what = next((words for magic, words in kind.items() if start.startswith(magic)), "something else")
        return f"{path.name} is not a .npy file but {what}; save the array with numpy.save."
    if "pickle" in str(error).lower() or "object array" in str(error).lower():
        return f"{path.name} holds Python objects, which are not read; save it as an array of numbers."
    return f"{path.name} is damaged or cut off: {' '.join(str(error).split())}."
