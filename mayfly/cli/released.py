"""What an earlier Git revision of a project held: its ids and the names of its buckets."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from compiler.deployment import DEPLOYMENT_FILE
from compiler.release import Release
from compiler.source import MAX_BYTES, parse_document
from state.errors import EnvironmentMissingError, SourcesError, UsageError

SOURCES = (DEPLOYMENT_FILE, "blueprints", "users")


def read_release(project: Path, revision: str) -> Release:
    """Return what a revision held. Files that cannot be read count for their ids only.

    Raises:
        EnvironmentMissingError: there is no Git.
        UsageError: the project is in no Git repository, or it has no such revision.
    """
    commit = (
        _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    )
    listed = _git(project, "ls-tree", "-r", "-z", "--name-only", commit, "--", *SOURCES)
    paths = {PurePosixPath(path) for path in listed.decode().split("\0") if path}
    blueprints = sorted(path for path in paths if path.match("blueprints/*/blueprint.yaml"))
    texts = _contents(project, commit, [*blueprints, *(paths & {PurePosixPath(DEPLOYMENT_FILE)})])
    deployment = _parse(texts, PurePosixPath(DEPLOYMENT_FILE)).get("name")
    buckets: dict[str, str | None] = {}
    for path in blueprints:
        data = _parse(texts, path)
        default = f"{deployment}-{data['renamed_from']}" if "renamed_from" in data else None
        bucket = data.get("bucket", default)
        buckets[path.parent.name] = bucket if isinstance(bucket, str) else None
    return Release(
        name=revision,
        deployment=deployment if isinstance(deployment, str) else None,
        buckets=buckets,
        groups=frozenset(path.stem for path in paths if path.match("users/*.yaml")),
    )


def _contents(project: Path, commit: str, paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, bytes]:
    """Return files of a revision, all with one call of Git."""
    if not paths:
        return {}
    archive = _git(project, "archive", "--format=tar", commit, "--", *map(str, paths))
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isfile() and (stream := tar.extractfile(member)):
                found[PurePosixPath(member.name)] = stream.read(MAX_BYTES + 1)
    return found


def _parse(texts: Mapping[PurePosixPath, bytes], path: PurePosixPath) -> dict[str, Any]:
    try:
        data = parse_document(texts.get(path, b""), file=path.as_posix()).data
    except SourcesError:
        return {}
    return data if isinstance(data, dict) else {}


def _git(project: Path, *arguments: str) -> bytes:
    """Return what Git says."""
    git = shutil.which("git")
    if git is None:
        raise EnvironmentMissingError("Git is needed to look at another revision, and is not on PATH. Install it.")
    done = subprocess.run([git, "-C", str(project), *arguments], capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["there is no such revision"])[-1]
        raise UsageError(f"Git cannot read that revision: {said}. Name a branch, tag or commit of this repository.")
    return done.stdout
