"""A Terraform without a program: its effects are in the distant cloud, its state and its lock beside the workspace."""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.cloud_values import LeftoverKind
from runner.provisioner import ApplySummary
from state.errors import TerraformError
from tests.crash.distant_cloud import DistantCloud
from tests.crash.faults import Faults, TerraformFault
from tests.fakes.terraform import FakeTerraform

LOCK_FILE = "lock.tflock"
NO_CAPACITY = (
    "creating EC2 Instance: operation error EC2: RunInstances, api error InsufficientInstanceCapacity: "
    "We currently do not have sufficient t3.small capacity in the Availability Zone you requested"
)


class DistantTerraform(FakeTerraform):
    """Makes one machine per task and one security group per job.

    Whoever is killed between a machine and the state leaves what a killed Terraform leaves: a machine that no state
    knows, and a lock. The lock of a process that died with its worker is let go of by the kernel, as with Terraform's
    local backend; one of a Terraform that died alone stays, as with S3, until somebody breaks it.
    """

    def __init__(self, cloud: DistantCloud, after: Callable[[str], None], faults: Faults | None = None) -> None:
        super().__init__(on_apply=self._make, on_destroy=self._take)
        self._cloud, self._after, self._faults = cloud, after, faults

    def apply(self, root: Path, *arguments: Any, **options: Any) -> ApplySummary:
        with self._locked(root, "apply", list(TerraformFault)) as fault:
            made = self._make(root, most=1 if fault is TerraformFault.CAPACITY else None) if fault else {}
            if fault is TerraformFault.CAPACITY:
                if made["instances"]:
                    self.save_partial(root, made)
                raise TerraformError(f"{root}: {NO_CAPACITY}", command="apply", diagnostics=[NO_CAPACITY])
            if fault is TerraformFault.KILLED:
                raise TerraformError(f"{root}: terraform apply was killed by signal 9.", command="apply")
            return super().apply(root, *arguments, **options)

    def destroy(self, root: Path, *arguments: Any, **options: Any) -> ApplySummary:
        with self._locked(root, "destroy", [TerraformFault.KILLED]) as fault:
            if fault is TerraformFault.KILLED:
                for instance in list(self._instances(root).values())[:1]:
                    self._cloud.end(instance)
                raise TerraformError(f"{root}: terraform destroy was killed by signal 9.", command="destroy")
            return super().destroy(root, *arguments, **options)

    def unlock(self, root: Path, lock: str) -> None:
        super().unlock(root, lock)
        held = root / LOCK_FILE
        assert held.read_text() == lock
        held.unlink()

    @contextmanager
    def _locked(self, root: Path, command: str, faults: list[TerraformFault]) -> Iterator[TerraformFault | None]:
        """Hold both locks, and say what shall go wrong."""
        with (root / ".terraform.tfstate.lock.info").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = root / LOCK_FILE
            if held.exists():
                said = f"Error acquiring the state lock: Lock Info:\n  ID:        {held.read_text()}\n  Who: nobody"
                raise TerraformError(f"{root}: {said}", command=command, diagnostics=[said])
            chosen = (self._faults.choose(f"terraform.{command}", [one]) for one in faults if self._faults)
            fault = next((one for one in chosen if one), None)
            if fault is TerraformFault.KILLED:
                held.write_text(str(uuid.uuid4()))
            yield fault

    def _make(self, root: Path, most: int | None = None) -> dict[str, Any]:
        """Make what is missing, but at most so many machines."""
        values = json.loads((root / "job.auto.tfvars.json").read_text())
        known = self._instances(root)
        tasks: dict[str, dict[str, Any]] = values["tasks"]
        if not known:
            whose = {"deployment": values["deployment"], "job": values["job"]}
            self._cloud.leave(LeftoverKind.SECURITY_GROUP, **whose)
            if len(tasks) > 1:
                self._cloud.leave(LeftoverKind.VOLUME, **whose)
        made = {number: known[number] for number in tasks if number in known}
        for number in [number for number in tasks if number not in known][:most]:
            made[number] = self._cloud.launch(
                deployment=values["deployment"],
                job=values["job"],
                task=int(number),
                kind=tasks[number].get("instance_type", values["instance_type"]),
            )
        for number in known.keys() - tasks.keys():
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

    def _save(self, root: Path, addresses: list[str], outputs: Any, **options: Any) -> None:
        super()._save(root, addresses, outputs, **options)
        self._after("terraform.state")
