"""Install hash-locked packages into a virtual environment that can be moved to another path."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from state.errors import EnvironmentMissingError, MayflyError, Place, SourceError

OnProgress = Callable[[str], None]

_FETCHED = re.compile(r"^(?:Collecting |Processing (?:[^(]*/)?)([A-Za-z0-9][\w.-]*?)(?:==|-)(\d[^-\s;]*)")
_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|Max retries exceeded|ConnectTimeout|ReadTimeout|ProxyError"
    r"|Connection (?:refused|reset|to \S+ timed out)|Network is unreachable|Failed to establish|error sending request"
    r"|dns error|Failed to fetch",
    re.IGNORECASE,
)
_FULL = re.compile(r"No space left on device|Errno 28|Disk quota exceeded", re.IGNORECASE)
_MISMATCH = re.compile(r"DO NOT MATCH THE HASHES|Hash mismatch", re.IGNORECASE)
_NO_HASH = re.compile(r"Hashes are required|must have their versions pinned|--require-hashes mode", re.IGNORECASE)
_NO_WHEEL = re.compile(r"No matching distribution found for (\S+)|no wheels? (?:with|for|are) .*|has no usable wheels")
_UNREADABLE = re.compile(r"Invalid requirement|Couldn't parse|Error parsing|pip: error: (?:no such option|unrecog)")
_PACKAGE = re.compile(r"^\s*([A-Za-z0-9][\w.-]*==[^\s;]+)(?: from | \(from )|Hash mismatch for `([^`]+)`", re.MULTILINE)
# How a launcher starts when the path of its Python is too long for a "#!" line, or has spaces.
_THROUGH_SHELL = re.compile(rb"\A#!/bin/sh\n'''exec' [^\n]+\n' '''\n")

# Settings of pip that would send packages to some other place than the image.
_REDIRECTING = frozenset({"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_NO_INDEX_CACHE"})
_PYTHON_SETTINGS = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__"})


def install(venv: Path, lock: Path, image_root: str, on_progress: OnProgress) -> list[str]:
    """Make a virtual environment with what a lock file names, nothing more, and compile it.

    Compiled files carry the hash of their source and are not checked again, so that they hold wherever and whenever
    the image is mounted; without them every task would compile its libraries anew (a second for numpy and matplotlib).

    Args:
        venv: the folder to make.
        lock: requirements with exact versions and hashes; markers choose among Pythons and platforms.
        image_root: where the folder above `venv` will be mounted; launchers in `venv/bin` are pointed there.
        on_progress: told in one line what is going on.

    Returns:
        the installed packages, `name==version`, sorted.

    Raises:
        SourceError: the lock file cannot be installed as it stands.
        EnvironmentMissingError: no network, no disk space, or neither pip nor uv.
    """
    interpreter = venv / "bin/python"
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)], lock, on_progress)
    _run([*_installer(interpreter), "-r", str(lock)], lock, on_progress)
    on_progress("compiling")
    compiler = ["-m", "compileall", "-q", "-x", r"[/\\]tests?[/\\]", "--invalidation-mode", "unchecked-hash"]
    # Compiled files name their source, so that a traceback shows where the image is mounted, not where it was built.
    renamed = ["-s", str(venv.parent), "-p", image_root]
    # Some libraries ship templates that only look like Python; they fail to compile and nobody imports them.
    _run([str(interpreter), "-I", *compiler, *renamed, str(venv / "lib")], lock, on_progress, check=False)
    _make_movable(venv, image_root)
    return sorted(_installed(venv))


def explain(output: str, lock: Path) -> MayflyError:
    """Turn what an installer printed before it gave up into one sentence.

    Args:
        output: its output, standard error included.
        lock: the file it was given.

    Returns:
        the error to raise.
    """
    place = Place(file=str(lock))
    found = _PACKAGE.search(output)
    package = next((name for name in found.groups() if name), "a package") if found else "a package"
    missing = _NO_WHEEL.search(output)
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it printed nothing"]
    last = next((line for line in reversed(lines) if line.lower().startswith("error")), lines[-1])
    # The order matters: an index that cannot be reached also looks like a package that does not exist.
    error: MayflyError = EnvironmentMissingError(f"the packages of {lock} could not be installed: {last}")
    if _FULL.search(output):
        error = EnvironmentMissingError("the disk is full: the packages do not fit. Free about 1 GB and try again.")
    elif _MISMATCH.search(output):
        error = SourceError(
            f"{package} that was downloaded does not have the hash that is written here.",
            place=place,
            way_out="Either the lock file is out of date or the download was tampered with: make the lock file anew.",
        )
    elif _NETWORK.search(output):
        error = EnvironmentMissingError(
            f"the packages of {lock} could not be downloaded: the package index does not answer. Check the network, "
            "the proxy settings, or pip's index configuration (`pip config list`)."
        )
    elif missing:
        version = ".".join(map(str, sys.version_info[:2]))
        error = SourceError(
            f"{missing.group(1) or package} has no wheel for Python {version} on this platform in the package index, "
            "or the index did not answer.",
            place=place,
            way_out="Check the network; lock a version that has one; or run Mayfly with another Python.",
        )
    elif _NO_HASH.search(output):
        error = SourceError(
            "names a package without its hash or its exact version.",
            place=place,
            way_out="Make it with `uv pip compile --universal --generate-hashes`.",
        )
    elif _UNREADABLE.search(output):
        error = SourceError(f"cannot be read by the installer: {last}", place=place)
    return error


def _installer(interpreter: Path) -> list[str]:
    """Return the start of the command that installs: pip when there is one, for only pip reads pip's configuration."""
    wanted = ["--require-hashes", "--only-binary", ":all:", "--no-deps"]
    if importlib.util.find_spec("pip"):
        quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--no-warn-script-location"]
        pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--no-user", "--no-compile"]
        return [*pip, *quiet, *wanted]
    if importlib.util.find_spec("uv"):
        # Copies, not links: sealing an image must not change the modes of uv's cache.
        return [sys.executable, "-m", "uv", "pip", "install", "--python", str(interpreter), "--link-mode=copy", *wanted]
    raise EnvironmentMissingError(
        f"{sys.executable} can run neither pip nor uv, so no image can be built. "
        f"Run `{sys.executable} -m ensurepip` or `make setup`."
    )


def _run(command: Sequence[str], lock: Path, on_progress: OnProgress, *, check: bool = True) -> None:
    """Run a command, tell its progress line by line, and explain its failure."""
    dropped = _REDIRECTING | _PYTHON_SETTINGS
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**environment, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for three lines up
            for line in process.stdout:
                lines.append(line)
                if told := _describe(line.strip()):
                    on_progress(told)
        except BaseException:
            process.kill()
            raise
    if check and process.returncode:
        raise explain("".join(lines), lock)


def _describe(line: str) -> str:
    """Return what a line of the installer's output says to a person; empty when it says nothing to them."""
    if found := _FETCHED.match(line):
        return f"fetched {found.group(1)} {found.group(2)}"
    return "unpacking" if line.startswith("Installing collected") else ""


def _make_movable(venv: Path, image_root: str) -> None:
    """Take the path it was built in out of an environment: it runs somewhere else, and its bytes must not tell."""
    built = str(venv).encode()
    for path in sorted((venv / "bin").iterdir()):
        if path.name.lower().startswith("activate"):
            path.unlink()
        elif not path.is_symlink() and built in (content := path.read_bytes()):
            moved = content.replace(built, f"{image_root}/venv".encode())
            path.write_bytes(_THROUGH_SHELL.sub(f"#!{image_root}/venv/bin/python\n".encode(), moved))
    settings = venv / "pyvenv.cfg"
    kept = [line for line in settings.read_text().splitlines(keepends=True) if not line.startswith("command")]
    settings.write_text("".join(kept))
    shutil.rmtree(venv / "include", ignore_errors=True)


def _installed(venv: Path) -> list[str]:
    names = [path.name.removesuffix(".dist-info") for path in venv.glob("lib/python*/site-packages/*.dist-info")]
    return ["==".join(name.replace("_", "-").rsplit("-", 1)) for name in names]
