"""The versions that an analysis had: Git's history of what defines it, and the content hash of each revision."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from compiler.deployment import Deployment
from compiler.make import make_blueprint
from compiler.mistakes import check_shape
from compiler.model import Platform
from compiler.source import read_document
from compiler.version import analysis_version
from state.errors import EnvironmentMissingError, SourcesError, UsageError

SHARED: Final = (".terraform.lock.hcl", "modules/job", "runner/iae")
"""What defines every analysis of a project that carries it; else this release's own counts."""
_FIELDS: Final = "%H%x00%aI%x00%an%x00%s"
_SEPARATOR: Final = "\x1e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an analysis.

    Attributes:
        version: the content hash that certificates name; empty when the revision cannot be read by this release.
        commit: Git's id of the commit that made it.
        when: when it was written.
        author: who wrote it.
        subject: first line of what the author said of it.
        id: what the analysis was called then.
    """

    version: str
    commit: str
    when: datetime
    author: str
    subject: str
    id: str


def list_versions(platform: Platform, analysis: str, *, most: int = 50) -> list[Version]:
    """Return the versions of an analysis, the newest first, as this release computes them.

    Commits in a row with the same version are one, the first of them: changing a title makes no new version. A commit
    that this release cannot read, because it was wrong then or is of an older format, has no version.

    Args:
        platform: what the files describe now.
        analysis: its id.
        most: commits to look at.

    Raises:
        EnvironmentMissingError: there is no Git.
        UsageError: the project is in no Git repository.
    """
    project = platform.project
    found: list[Version] = []
    for commit, when, author, subject in reversed(list(_commits(project, platform, analysis, most))):
        name, version = _version_at(platform.deployment, project, commit, _ids(platform, analysis))
        if found and (version, name) == (found[-1].version, found[-1].id) and version:
            continue
        moment = datetime.fromisoformat(when)
        found.append(Version(version=version, commit=commit, when=moment, author=author, subject=subject, id=name))
    return found[::-1]


def _ids(platform: Platform, analysis: str) -> list[str]:
    """Return what an analysis is and was called."""
    return list(dict.fromkeys([analysis, platform.birth_id(analysis)]))


def _commits(project: Path, platform: Platform, analysis: str, most: int) -> Iterator[list[str]]:
    """Yield commit, time, author and subject of what touched an analysis, the newest first."""
    paths = [*(f"blueprints/{name}" for name in _ids(platform, analysis)), *SHARED]
    text = _git(project, "log", f"--max-count={most}", f"--format={_FIELDS}{_SEPARATOR}", "--", *paths).decode(
        errors="replace"
    )
    for record in text.split(_SEPARATOR):
        if record.strip():
            yield record.strip("\n").split("\0")


def _version_at(deployment: Deployment, project: Path, commit: str, ids: list[str]) -> tuple[str, str]:
    """Return what an analysis was called at a commit, and its version; empty when that cannot be told."""
    listed = _git(
        project, "ls-tree", "-r", "-z", "--name-only", commit, "--", *(f"blueprints/{i}" for i in ids), *SHARED
    )
    paths = [path for path in listed.decode(errors="replace").split("\0") if path]
    name = next((one for one in ids if f"blueprints/{one}/blueprint.yaml" in paths), None)
    if name is None:
        return ids[0], ""
    wanted = [path for path in paths if not path.startswith("blueprints/") or path.startswith(f"blueprints/{name}/")]
    with tempfile.TemporaryDirectory(prefix="mayfly-history-") as folder:
        old = Path(folder)
        archive = _git(project, "archive", "--format=tar", commit, "--", *wanted)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(old, filter="data")
        try:
            document = read_document(
                old / f"blueprints/{name}/blueprint.yaml", file=f"blueprints/{name}/blueprint.yaml"
            )
            if check_shape(document, "blueprint"):
                return name, ""
        except SourcesError:
            return name, ""
        agent = old / "runner" / "iae"
        then = Platform(
            project=old,
            deployment=deployment,
            blueprints={name: make_blueprint(document)},
            groups={},
            agent=agent if agent.is_dir() else None,
        )
        return name, analysis_version(then, name)


def _git(project: Path, *arguments: str) -> bytes:
    """Run Git in a project; return what it prints."""
    command = ["git", "-C", str(project), "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise EnvironmentMissingError("Git is not on PATH, and an analysis's history is Git's. Install it.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[0].removeprefix("fatal: ") if said else f"exit code {done.returncode}"
        raise UsageError(f"{project} has no history: {why}. Keep the project in a Git repository, and commit to it.")
    return done.stdout
