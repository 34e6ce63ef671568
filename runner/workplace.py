"""Where the workspace of a job lies: a folder of this machine and, where states are in S3, a copy beside its state.

With the copy another machine goes on where a worker died: same code, same module, same state. It lies in the state
bucket, where only the runner may write, never in a bucket of a user: it is code that will be run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.shop import Shop
from runner.workspace import KEPT, change_tasks, generated_files, write_once
from state.backend import S3Backend
from state.errors import CloudError, StateError
from state.files import write_whole

COPY = ".workspace.json"
"""How the key of a workspace's copy in the state bucket ends."""
JSON_TYPE = "application/json"

log = logging.getLogger(__name__)


class Workplace:
    """The workspaces of jobs, as this worker finds and leaves them."""

    def __init__(self, shop: Shop) -> None:
        """Work with `shop`."""
        self._shop = shop

    def make(self, job_id: str, render: Callable[[], Mapping[str, str]]) -> None:
        """Write a workspace, once: what was applied must never change under a job.

        Args:
            job_id: whose.
            render: returns its files, text by path; called when there are none yet, here or in the state bucket.

        Raises:
            StateError: the disk is full or the folder may not be written.
            CloudError: the copy could not be written.
        """
        root = self._shop.jobs / job_id
        if self.enter(job_id) is None:
            write_once(root, render())
        if isinstance(self._shop.backend, S3Backend):
            self._keep(self._shop.backend, job_id)
            self._shop.terraform.init(root, self._shop.backend.settings(state_name(job_id)))
        else:
            self._shop.terraform.prepare(root)

    def change(self, job_id: str, tasks: Mapping[str, object]) -> None:
        """Give a workspace new values for some of its tasks, here and in its copy.

        Raises:
            CloudError: the copy could not be written; what is here counts, and is written again with the next change.
        """
        change_tasks(self._shop.jobs / job_id, tasks)
        if isinstance(self._shop.backend, S3Backend):
            self._keep(self._shop.backend, job_id)

    def enter(self, job_id: str) -> Path | None:
        """Return the folder of a workspace; it is brought here when another machine wrote or changed it last.

        None when it was never written.

        Raises:
            CloudError: whether there is a copy cannot be seen, or it cannot be read.
            StateError: the disk is full or the folder may not be written.
        """
        root = self._shop.jobs / job_id
        if isinstance(self._shop.backend, S3Backend):
            self._bring(self._shop.backend, job_id, root)
        return root if root.exists() else None

    def enter_if_possible(self, job_id: str) -> Path | None:
        """Return the folder of a workspace as `enter` does, or what is here of it when its copy is out of reach."""
        try:
            return self.enter(job_id)
        except (CloudError, StateError) as error:
            log.warning("job %s: its workspace cannot be brought here: %s", job_id, error)
        root = self._shop.jobs / job_id
        return root if root.exists() else None

    def forget(self, job_id: str) -> None:
        """Delete the copy, and the state, of a job that is over: nothing is left that they could tell of.

        Raises:
            CloudError: the bucket does not take it.
        """
        backend = self._shop.backend
        if isinstance(backend, S3Backend):
            for key in (copy_key(job_id), backend.settings(state_name(job_id))["key"]):
                self._shop.cloud.delete(backend.bucket, key)

    def _keep(self, backend: S3Backend, job_id: str) -> None:
        root = self._shop.jobs / job_id
        body = json.dumps(generated_files(root), sort_keys=True).encode()
        written = self._shop.cloud.write(backend.bucket, copy_key(job_id), body, content_type=JSON_TYPE)
        write_whole(root / KEPT, written.etag)

    def _bring(self, backend: S3Backend, job_id: str, root: Path) -> None:
        shop, key = self._shop, copy_key(job_id)
        found = shop.cloud.head(backend.bucket, key)
        if found is None or ((root / KEPT).is_file() and (root / KEPT).read_text(encoding="utf-8") == found.etag):
            return
        files: dict[str, str] = json.loads(shop.cloud.read(backend.bucket, key))
        write_once(root, files)
        for name, text in files.items():
            write_whole(root / name, text)
        write_whole(root / KEPT, found.etag)
        shop.terraform.init(root, backend.settings(state_name(job_id)))
        text = f"{shop.name} goes on from the workspace in s3://{backend.bucket}/{key}"
        shop.ledger.tell(job_id, text, shop.clock(), once=f"brought/{shop.name}/{found.etag}")


def state_name(job_id: str) -> str:
    """Return the name of a job's root, by which backends find its state."""
    return f"jobs/{job_id}"


def copy_key(job_id: str) -> str:
    """Return the key of a workspace's copy in the state bucket, beside its state."""
    return f"jobs/{job_id}{COPY}"
