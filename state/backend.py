"""Where Terraform keeps a root's state: computed from ids, so that no root ever asks another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend:
    """A file per root under one folder (embedded cloud)."""

    folder: Path

    def settings(self, root: str) -> dict[str, str]:
        """Return the `-backend-config` values of a root named like `analyses/pca`."""
        return {"path": str((self.folder / f"{root}.tfstate").resolve())}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Backend:
    """A key per root in one versioned bucket, with S3's own lock file (AWS)."""

    bucket: str
    region: str

    def settings(self, root: str) -> dict[str, str]:
        """Return the `-backend-config` values of a root named like `analyses/pca`."""
        return {"bucket": self.bucket, "region": self.region, "key": f"{root}.tfstate", "use_lockfile": "true"}


Backend = LocalBackend | S3Backend
