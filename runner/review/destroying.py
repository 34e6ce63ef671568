"""Takes a platform down: access and the queue first, and data only for those who ask for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

from runner.provisioner import ApplySummary
from runner.terraform import Terraform
from state.backend import Backend

BUCKET: Final = "aws_s3_bucket"
OVERRIDE: Final = "mayfly_override.tf"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def order(roots: Iterable[str], *, data: bool) -> list[str]:
    """Return the roots to destroy, in order: groups, analyses if data is to go, base last."""
    known = list(roots)
    groups = [root for root in known if root.startswith("groups/")]
    analyses = [root for root in known if root.startswith("analyses/")] if data else []
    return [*groups, *analyses, *(root for root in known if root == "base")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroying:
    """All that destroying needs.

    Attributes:
        terraform: runs it.
        backend: where the states are.
        build: folder of the generated roots.
        work: folder for copies of them that may delete buckets with what is in them.
        logs: folder for Terraform's logs.
    """

    terraform: Terraform
    backend: Backend
    build: Path
    work: Path
    logs: Path

    def destroy(
        self, roots: Iterable[str], on_result: Callable[[str, ApplySummary], None], stop: Event | None = None
    ) -> None:
        """Destroy roots one after the other; a root without a state has nothing to destroy.

        Raises:
            TerraformError: it failed; what is gone stays gone, and the same command goes on where it stopped.
        """
        stop = stop or Event()
        for root in roots:
            on_result(root, self._destroy(root, stop))

    def _destroy(self, root: str, stop: Event) -> ApplySummary:
        folder, log = self.work / root, self.logs / f"terraform-{root.replace('/', '-')}.log"
        self.logs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.build / root, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfplan"))
        self.terraform.init(folder, self.backend.settings(root))
        if not self.terraform.pull_state(folder):
            return ApplySummary(add=0, change=0, destroy=0, seconds=0)
        buckets = list(_buckets(self.terraform.show(folder)))
        if any(not emptied for _, emptied in buckets):
            text = "".join(f'resource "{BUCKET}" "{name}" {{\n  force_destroy = true\n}}\n' for name, _ in buckets)
            (folder / "module" / OVERRIDE).write_text(text, encoding="utf-8")
            self.terraform.apply(folder, log=log, stop=stop.is_set)
        done = self.terraform.destroy(folder, log=log, stop=stop.is_set)
        shutil.rmtree(folder, ignore_errors=True)
        return done


def _buckets(state: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the name of each bucket resource of a state, and whether it may go with what is in it."""
    modules = [(state.get("values") or {}).get("root_module") or {}]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules") or ()
        for one in module.get("resources") or ():
            if one.get("type") == BUCKET and one.get("mode") == "managed" and NAME.fullmatch(one["name"]):
                yield one["name"], bool(one["values"].get("force_destroy"))
