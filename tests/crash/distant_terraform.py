"""A Terraform without a program: its effects are in the distant cloud, its state and its lock beside the workspace."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.cloud_values import LeftoverKind
from runner.provisioner import ApplySummary
from tests.crash.distant_cloud import DistantCloud
from tests.fakes.terraform import FakeTerraform


class DistantTerraform(FakeTerraform):
    """Makes one machine per task and one security group per job.

    Whoever is killed between a machine and the state leaves what a killed Terraform leaves: a machine that no state
    knows, and a lock file.
    """

    def __init__(self, cloud: DistantCloud, after: Callable[[str], None]) -> None:
        super().__init__(on_apply=self._make, on_destroy=self._take)
        self._cloud, self._after = cloud, after

    def apply(self, root: Path, *arguments: Any, **options: Any) -> ApplySummary:
        with self._locked(root):
            return super().apply(root, *arguments, **options)

    def destroy(self, root: Path, *arguments: Any, **options: Any) -> ApplySummary:
        with self._locked(root):
            return super().destroy(root, *arguments, **options)

    @contextmanager
    def _locked(self, root: Path) -> Iterator[None]:
        """Hold the state as Terraform's local backend does: the kernel lets go of it when its holder dies."""
        with (root / ".terraform.tfstate.lock.info").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, root: Path) -> dict[str, Any]:
        values = json.loads((root / "job.auto.tfvars.json").read_text())
        known = self._instances(root)
        made = {}
        if not known:
            whose = {"deployment": values["deployment"], "job": values["job"]}
            self._cloud.leave(LeftoverKind.SECURITY_GROUP, **whose)
            if len(values["tasks"]) > 1:
                self._cloud.leave(LeftoverKind.VOLUME, **whose)
        for number, task in values["tasks"].items():
            made[number] = known.get(number) or self._cloud.launch(
                deployment=values["deployment"],
                job=values["job"],
                task=int(number),
                kind=task.get("instance_type", values["instance_type"]),
            )
        for number in known.keys() - made.keys():
            self._cloud.end(known[number])
        return {"instances": made}

    def _take(self, root: Path) -> None:
        values = json.loads((root / "job.auto.tfvars.json").read_text())
        for instance in self._instances(root).values():
            self._cloud.end(instance)
        for one in self._cloud.leftovers(deployment=values["deployment"], job=values["job"]):
            if one.kind is not LeftoverKind.INSTANCE:
                self._cloud.remove(one)

    def _instances(self, root: Path) -> dict[str, str]:
        resources = self._state(root).get("resources", [])
        return {str(i["index_key"]): i["attributes"]["id"] for r in resources for i in r["instances"]}

    def _state(self, root: Path) -> dict[str, Any]:
        try:
            return super()._state(root)
        except ValueError:  # killed while it was written: a killed Terraform leaves an empty state, too
            return {}

    def _save(self, root: Path, addresses: list[str], outputs: Any) -> None:
        super()._save(root, addresses, outputs)
        self._after("terraform.state")
