"""What the YAML said at another revision: its files, taken out of git into a folder for the moment, and compiled."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import compiler
from compiler.load import load_platform
from compiler.model import Platform
from compiler.module import PROVIDER_LOCK, shipped_agent
from compiler.platform import live_roots, render_platform, roots
from state.errors import MayflyError, UsageError

AGENT: Final = "runner/iae"
SOURCES: Final = ("mayfly.yaml", "blueprints", "users", "modules", "policies", PROVIDER_LOCK, AGENT)
"""What a platform is made of. Only Mayfly's own project carries the agent."""
COMPILER: Final = (
    "compiler/*.py",
    "compiler/data",
    "compiler/templates",
    "state/keys.py",
    ":!compiler/review",
)
"""What decides, beside its sources, what a platform compiles to: Git's patterns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A platform as it was.

    Attributes:
        name: as it was asked for.
        commit: its full id.
        platform: what it said; None when it could not be compiled.
        files: the generated files without those of drafts, which make nothing; empty when it could not be compiled.
        note: why there is no platform, or why all roots count as affected; empty when all is well.
    """

    name: str
    commit: str
    platform: Platform | None
    files: Mapping[str, str]
    note: str = ""


def read_revision(project: Path, name: str, folder: Path) -> Revision:
    """Return the platform of a revision, unpacked in a folder that must stay as long as it is used.

    Raises:
        UsageError: there is no git, no repository, or no such revision.
    """
    commit = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    present = set(_git(project, "ls-tree", "--name-only", "-z", commit, "--", *SOURCES).split("\0"))
    wanted = [path for path in SOURCES if path in present]
    if wanted:
        archive = _git_bytes(project, "archive", "--format=tar", commit, "--", *wanted)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter=_plain_files)  # noqa: S202 the filter refuses what leads out
    try:
        platform = _load(project, folder)
        files = _without_drafts(platform, render_platform(platform))
    except MayflyError as error:
        why = str(error).splitlines()[0]
        note = f"{name} cannot be compiled ({why}), so every root counts as affected."
        return Revision(name=name, commit=commit, platform=None, files={}, note=note)
    note = ""
    if _compiler_changed(project, commit):
        note = (
            f"Mayfly's own compiler has changed since {name}, so every root counts as affected. What it alone changes "
            "shows only in a plan against what is really there: here it compiled both sides."
        )
    return Revision(name=name, commit=commit, platform=platform, files=files, note=note)


def _load(project: Path, folder: Path) -> Platform:
    """Return the platform of an unpacked revision, with its own agent when the running one is the project's, too."""
    platform, agent = load_platform(folder), folder / AGENT
    is_own = shipped_agent().resolve() == (project / AGENT).resolve()
    return replace(platform, agent=agent) if is_own and agent.is_dir() else platform


def _without_drafts(platform: Platform, files: Mapping[str, str]) -> dict[str, str]:
    drafts = tuple(f"{root}/" for root in roots(platform) if root not in live_roots(platform))
    return {path: text for path, text in files.items() if not path.startswith(drafts)}


def _plain_files(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """Let files and folders through, and no link: the compiler follows none either."""
    return tarfile.data_filter(member, path) if member.isreg() or member.isdir() else None


def _compiler_changed(project: Path, commit: str) -> bool:
    """Whether the running compiler is the project's own and differs from the revision's."""
    own = Path(compiler.__file__).resolve().parent
    if own != (project / "compiler").resolve():
        return False
    done = _run(project, "diff", "--quiet", commit, "--", *COMPILER)
    return done.returncode != 0


def affected_roots(platform: Platform, files: Mapping[str, str], before: Revision) -> list[str]:
    """Return the roots whose generated files differ from a revision's, in the order in which they are applied."""
    names = live_roots(platform)
    if before.note:
        return list(names)
    return [root for root in names if _of_root(files, root) != _of_root(before.files, root)]


def removed_roots(platform: Platform, before: Revision) -> list[str]:
    """Return the roots that a revision had and that are described no more."""
    described = roots(replace(platform, retired=()))
    return [root for root in live_roots(before.platform) if root not in described] if before.platform else []


def _of_root(files: Mapping[str, str], root: str) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.startswith(f"{root}/")}


def _git(project: Path, *arguments: str) -> str:
    return _git_bytes(project, *arguments).decode(errors="surrogateescape")


def _git_bytes(project: Path, *arguments: str) -> bytes:
    done = _run(project, *arguments)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        what = f" ({said[-1]})" if said else ""
        asked = next((one for one in arguments if one.endswith("^{commit}")), None)
        if asked is not None:
            name = asked.removesuffix("^{commit}") or "without a name"
            raise UsageError(
                f"{project}: git knows no revision {name}{what}. Name a commit, a branch or a tag; in CI, fetch it."
            )
        raise UsageError(f"{project}: git {arguments[0]} failed{what}.")
    return done.stdout


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], cwd=project, capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError("There is no git on PATH, so there is nothing to compare with. Install it.") from None
