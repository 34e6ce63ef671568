"""The two sets of libraries that the agent carries: today's, and the last ones that run on Python 3.8 and 3.9."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

MODERN = (3, 10)
"""The first Python that today's libraries run on. They lie at the top of the zip file."""

OLD_SET = "python38"
"""The folder of the others: modules, and botocore's own data files in `data/`."""

DATA = "data/"
"""Botocore's data files in the zip file, for either set in its own place."""

CERTIFICATES = "cacert.pem"
"""Among today's data only: whom to trust does not depend on Python."""


def choose_libraries(path: list[str], version: tuple[int, ...] = sys.version_info[:2]) -> bool:
    """Let imports find the libraries for this Python.

    Args:
        path: where Python looks for modules, the agent's zip file first; changed.
        version: of this Python.

    Returns:
        whether the agent carries a set for it.
    """
    if version >= MODERN:
        return True
    folder = f"{path[0]}/{OLD_SET}"
    path.insert(0, folder)
    return PathFinder.find_spec("botocore", [folder]) is not None


def data_files(names: list[str], version: tuple[int, ...] = sys.version_info[:2]) -> dict[str, str]:
    """Return the data files for this Python, name in the zip file → name to give it.

    Args:
        names: of all that is in the zip file.
        version: of this Python.
    """
    folder = DATA if version >= MODERN else f"{OLD_SET}/{DATA}"
    found = {name: name[len(folder) :] for name in names if name.startswith(folder)}
    found[DATA + CERTIFICATES] = CERTIFICATES
    return found
