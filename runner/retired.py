"""Finds roots that were applied and that no YAML file describes any more, so that Terraform can let go of them.

Terraform's own state is the witness: it is there in every clone and on every machine, unlike a generated folder, and it
knows whether `purge: true` was ever applied. Where it cannot be asked, the tree that was generated last is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from compiler.model import Platform, Retired
from compiler.platform import roots
from compiler.tree import made_files
from runner.cloud_values import Cloud
from state.backend import Backend, LocalBackend
from state.errors import StateError

KINDS: Final = ("analyses", "groups")
"""The base root is not among them: without mayfly.yaml there is no platform to retire it from."""
_SUFFIX: Final = ".tfstate"


def find_retired(
    platform: Platform, backend: Backend, *, build: Path, cloud: Cloud | None = None
) -> tuple[Retired, ...]:
    """Return the roots that hold resources and that no file describes, sorted by name.

    Args:
        platform: what the files describe.
        backend: where Terraform's states are.
        build: folder of the generated roots, asked where the states are out of reach.
        cloud: reaches the states on AWS; None asks nobody.

    Raises:
        StateError: a state cannot be read.
        CloudError: AWS does not let us.
    """
    described = frozenset(roots(replace(platform, retired=())))
    if isinstance(backend, LocalBackend):
        found = _local(backend.folder, described)
    elif cloud is not None:
        found = _remote(cloud, backend.bucket, described)
    else:
        found = _generated(build, described)
    return tuple(sorted(found))


def _local(folder: Path, described: AbstractSet[str]) -> Iterator[Retired]:
    for kind in KINDS:
        for path in (folder / kind).glob(f"*{_SUFFIX}"):
            root = f"{kind}/{path.name.removesuffix(_SUFFIX)}"
            if root not in described:
                yield from _read(root, path.read_bytes(), str(path))


def _remote(cloud: Cloud, bucket: str, described: AbstractSet[str]) -> Iterator[Retired]:
    for kind in KINDS:
        for found in cloud.list(bucket, f"{kind}/"):
            root = found.key.removesuffix(_SUFFIX)
            if found.key.endswith(_SUFFIX) and root not in described:
                yield from _read(root, cloud.read(bucket, found.key), f"s3://{bucket}/{found.key}")


def _read(root: str, content: bytes, where: str) -> Iterator[Retired]:
    """Yield a root that holds something."""
    if not content.strip():
        return  # Terraform was killed before it knew anything
    try:
        resources: list[Mapping[str, Any]] = json.loads(content).get("resources", [])
        made = [one for one in resources if one.get("mode") == "managed" and one.get("instances")]
        buckets = [one for one in made if one.get("type") == "aws_s3_bucket"]
        purge = bool(buckets) and all(i["attributes"].get("force_destroy") for one in buckets for i in one["instances"])
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StateError(f"{where} is no Terraform state. Restore it from a backup or an earlier version.") from error
    if made:
        yield Retired(root=root, purge=purge)


def _generated(build: Path, described: AbstractSet[str]) -> Iterator[Retired]:
    """Yield the roots of the tree that was generated last, and what their blueprints said of purging."""
    for path in made_files(build):
        root, _, file = path.rpartition("/")
        if file == "main.tf" and root.partition("/")[0] in KINDS and root.count("/") == 1 and root not in described:
            yield Retired(root=root, purge=_said_purge(build / root))


def _said_purge(root: Path) -> bool:
    """Whether the values of a generated root, or the removal that it already is, say that data may go."""
    try:
        values = json.loads((root / "analysis.auto.tfvars.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        main = root / "main.tf"
        return main.is_file() and "destroy = true" in main.read_text(encoding="utf-8")
    except ValueError:
        return False
    return values.get("purge") is True
