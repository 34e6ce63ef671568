"""Bring the platform's generated roots to what the YAML files say: base first, then all others side by side."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from compiler import names
from compiler.model import Platform
from runner.cloud_values import Cloud
from runner.review.saved import fingerprint
from runner.terraform import Terraform
from state.backend import Backend, LocalBackend
from state.errors import CloudError

T = TypeVar("T")
BASE = "base"
LOOK_S = 0.2
AT_ONCE = 16
"""Roots in work at the same time; how many Terraforms really run is for runner.slots, which looks at the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootResult:
    """What became of one root.

    Attributes:
        root: `base`, `analyses/ID` or `groups/ID`.
        add: resources made.
        change: resources changed.
        destroy: resources removed.
        seconds: how long it took.
        unchanged: nothing was run: the same code was applied before, and what it made is still there.
    """

    root: str
    add: int = 0
    change: int = 0
    destroy: int = 0
    seconds: float = 0.0
    unchanged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """All that deploying needs.

    Attributes:
        platform: what is deployed.
        build: folder of the generated roots.
        logs: folder for Terraform's logs.
        terraform: runs them.
        backend: where their state is.
        cloud: asked whether what was made before is still there.
    """

    platform: Platform
    build: Path
    logs: Path
    terraform: Terraform
    backend: Backend
    cloud: Cloud

    def apply(
        self, roots: Iterable[str], on_result: Callable[[RootResult], None], stop: threading.Event | None = None
    ) -> list[RootResult]:
        """Apply roots: base, then the others side by side. `on_result` is told of each as it is done, one at a time.

        Ctrl-C, or `stop`, asks every Terraform to end and waits for it: what it was making is in its state then.

        Raises:
            TerraformError: Terraform could not do it; the other roots are applied all the same.
        """
        wanted, stop, done = list(roots), stop or threading.Event(), list[RootResult]()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            try:
                for batch in ([r for r in wanted if r == BASE], [r for r in wanted if r != BASE]):
                    running = [pool.submit(self._apply, root, stop) for root in batch]
                    for one in as_they_end(running):
                        if one.exception() is None:
                            done.append(one.result())
                            on_result(done[-1])
                    for one in running:
                        one.result()
            except BaseException:
                stop.set()
                raise
        return done

    def remember(self, root: str) -> None:
        """Note that a root was applied as it is here, so that `mayfly up` need not do it again."""
        if mark := self._mark(root):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(fingerprint(self.build / root, self.backend.settings(root)))

    def forget(self, root: str) -> None:
        """Note that a root must be applied again."""
        forget_applied(self.backend, root)

    def removed(self, roots: Iterable[str]) -> list[str]:
        """Return the roots that were applied here before and are generated no more, sorted; what they made is there."""
        if not isinstance(self.backend, LocalBackend):
            return []
        folder = self.backend.folder
        known = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.applied")}
        return sorted(known - set(roots))

    def _apply(self, root: str, stop: threading.Event) -> RootResult:
        start = time.monotonic()
        folder, mark = self.build / root, self._mark(root)
        code = fingerprint(folder, self.backend.settings(root))
        if mark and mark.exists() and mark.read_text() == code and self._is_there(root):
            return RootResult(root=root, unchanged=True)
        if mark:
            mark.unlink(missing_ok=True)  # a crash from here on means: apply again
        self.logs.mkdir(parents=True, exist_ok=True)
        self.terraform.init(folder, self.backend.settings(root))
        done = self.terraform.apply(folder, log=self.logs / f"terraform-{root.replace('/', '-')}.log", stop=stop.is_set)
        if mark and all(root != one.root for one in self.platform.retired):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(code)
        return RootResult(
            root=root,
            add=done.add,
            change=done.change,
            destroy=done.destroy,
            seconds=time.monotonic() - start,
        )

    def _mark(self, root: str) -> Path | None:
        return mark_of(self.backend, root)

    def _is_there(self, root: str) -> bool:
        """Whether a root's resources and its state exist."""
        return self.exists(root) and Path(self.backend.settings(root).get("path", os.devnull)).exists()

    def exists(self, root: str) -> bool:
        """Ask the cloud, not Terraform's state, whether a root's resources exist."""
        kind, _, one = root.partition("/")
        name = self.platform.deployment.name
        try:
            if root == BASE:
                self.cloud.queue_url(names.queue(name))
                next(iter(self.cloud.list(names.platform_bucket(name), "")), None)
            elif kind == "analyses":
                blueprint = self.platform.born_as(one)
                if blueprint is None:
                    return False
                next(iter(self.cloud.list(self.platform.bucket(blueprint.id), "")), None)
            else:
                return self.cloud.role_exists(names.user_role(name, one))
        except CloudError:
            return False
        return True


def mark_of(backend: Backend, root: str) -> Path | None:
    """Return where it is kept what was applied last; None on AWS, where others may have changed it since."""
    return backend.folder / f"{root}.applied" if isinstance(backend, LocalBackend) else None


def forget_applied(backend: Backend, root: str) -> None:
    """Note that a root must be applied again, although its code is what it was."""
    if mark := mark_of(backend, root):
        mark.unlink(missing_ok=True)


def as_they_end(work: Collection[Future[T]]) -> Iterator[Future[T]]:
    """Yield each piece of work as it is done, and look up several times a second.

    A Ctrl-C that comes while another thread starts a process may not wake a thread that waits without an end
    (CPython 3.11, measured: one in three).
    """
    waiting = set(work)
    while waiting:
        done, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        yield from done
