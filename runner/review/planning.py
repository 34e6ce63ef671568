"""Plans several roots at once, within a budget of memory, and tells of each as it is done."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final

from compiler.module import shipped_modules
from compiler.review.redact import redact_text
from compiler.review.values import JSON, RootPlan, read_plan
from runner.review.provider import KeptSchema, provider_host
from runner.review.proxy import Schema
from runner.review.ready import UNREADY, Readier
from runner.review.schema import kinds_of
from runner.terraform import Terraform
from state.errors import TerraformError

LANE_BYTES: Final = 600 * 2**20
"""Private memory of one lane: 350 MiB measured, and room for a Terraform that starts the provider itself."""
OWN_BYTES: Final = 150 * 2**20
"""Private memory of this process, measured."""
BUDGET_BYTES: Final = 2 * 2**30
"""Memory that planning may take when nobody says otherwise."""
LOOK_S: Final = 0.2
CRASHES: Final = (
    "provider crashed",
    "reattach",
    "failed to instantiate provider",
    "unrecognized remote plugin",
    "failed to load plugin schemas",
    "no schema available",
    "does not support resource type",
    "does not support data source",
    "invalid resource type",
    "invalid data source",
)
"""What Terraform says, in lower case, when the provider that it is attached to, or what is left of its description,
does not do."""
LOCKED: Final = "acquiring the state lock"
NEWER: Final = ("created by a newer version of terraform", "unsupported state file format", "created by terraform v")


Host = Callable[[Path, Mapping[str, str], Schema], AbstractContextManager[str]]
"""Given the provider's program, its environment and its description, gives what Terraform must know to attach to it."""


def count_lanes(memory: int, roots: int) -> int:
    """Return how many roots are planned at the same time: what memory and cores carry, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min((memory - OWN_BYTES) // LANE_BYTES, cores + 1, roots))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One root's plan.

    Attributes:
        root: its name.
        raw: Terraform's own JSON; empty when it failed.
        file: the saved plan, or None when it failed.
        error: why it failed, in words.
    """

    root: str
    raw: JSON = field(default_factory=dict)
    file: Path | None = None
    error: str = ""

    @property
    def plan(self) -> RootPlan:
        """What it says."""
        return read_plan(self.root, self.raw) if self.raw else RootPlan(root=self.root, error=self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """All that planning needs.

    Attributes:
        terraform: runs the plans.
        ready: makes roots ready; None for roots without a backend.
        plans: folder for the saved plans.
        refresh: whether what is really there is looked at.
        memory: the most memory, bytes.
        host: runs a provider that Terraform is attached to.
    """

    terraform: Terraform
    ready: Readier | None
    plans: Path
    refresh: bool = True
    memory: int = BUDGET_BYTES
    host: Host = provider_host

    def plan(
        self, folders: dict[str, Path], on_result: Callable[[Planned], None], stop: Event | None = None
    ) -> list[Planned]:
        """Plan roots side by side. `on_result` is told of each as it is done, in this thread.

        A root that cannot be planned does not keep the others back. Ctrl-C, or `stop`, interrupts every Terraform and
        waits for it.
        """
        stop, done = stop or Event(), dict[str, Planned]()
        lanes = count_lanes(self.memory, len(folders))
        if not folders:
            return []
        with ExitStack() as stack:
            # A state may hold what the code has left, so that all kinds count that any of our modules has.
            kinds = set().union(*map(kinds_of, (shipped_modules(), *folders.values())))
            hosts = stack.enter_context(self._hosts(lanes, kinds))
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=lanes))
            try:
                running = [pool.submit(self._plan, root, folder, hosts, stop) for root, folder in folders.items()]
                for one in _as_they_end(running):
                    result = one.result()
                    done[result.root] = result
                    on_result(result)
            except BaseException:
                stop.set()
                raise
        return [done[root] for root in folders]

    @contextmanager
    def _hosts(self, lanes: int, kinds: set[str]) -> Iterator[queue.Queue[Terraform]]:
        """Give a Terraform for each lane, with a provider of its own; a plain one where that does not start.

        They start while the first roots are made ready. The threads that started them live as long as they do: a
        provider ends with the thread that made it.
        """
        waiting: queue.Queue[Terraform] = queue.Queue()
        program, environment = self.terraform.provider_program, self.terraform.environment
        schema = KeptSchema(program, self.terraform.cache / "schemas", kinds)
        opened = [self.host(program, environment, schema) for _ in range(lanes)]
        with ThreadPoolExecutor(max_workers=lanes) as pool:
            started = [pool.submit(self._open, host, waiting) for host in opened]
            try:
                yield waiting
            finally:
                for host, one in zip(opened, started, strict=True):
                    if one.result():
                        host.__exit__(None, None, None)

    def _open(self, host: AbstractContextManager[str], waiting: queue.Queue[Terraform]) -> bool:
        """Start a provider and hand on the Terraform that it serves; tell whether it started."""
        try:
            waiting.put(self.terraform.served_by(host.__enter__()))
        except (TerraformError, OSError):
            waiting.put(self.terraform)
            return False
        return True

    def _plan(self, root: str, folder: Path, hosts: queue.Queue[Terraform], stop: Event) -> Planned:
        try:
            if self.ready is not None:
                self.ready.make_ready(folder, root)
            else:
                self.terraform.prepare(folder)
            terraform = hosts.get()
            try:
                return self._plan_with(terraform, root, folder, stop)
            finally:
                hosts.put(terraform)
        except TerraformError as error:
            return Planned(root=root, error=redact_text(explain(error)))

    def _plan_with(self, terraform: Terraform, root: str, folder: Path, stop: Event) -> Planned:
        """Plan one root; once more, the plain way, when the cheap way does not work here."""
        file = self.plans / f"{root}.tfplan"
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            terraform.plan(folder, out=file, refresh=self.refresh, stop=stop.is_set)
            raw = terraform.show(folder, file)
        except TerraformError as error:
            said = " ".join([str(error), *error.diagnostics]).casefold()
            if stop.is_set() or not any(sign in said for sign in (*UNREADY, *CRASHES)):
                raise
            if self.ready is not None:
                self.ready.initialise(folder, root)
            self.terraform.plan(folder, out=file, refresh=self.refresh, stop=stop.is_set)
            raw = self.terraform.show(folder, file)
        return Planned(root=root, raw=raw, file=file)


def explain(error: TerraformError) -> str:
    """Return what a failed plan means, with the way out."""
    said = " ".join([str(error), *error.diagnostics])
    if any(sign in said.casefold() for sign in NEWER):
        why = error.diagnostics[0] if error.diagnostics else str(error)
        return f"Its state was written by a newer Terraform ({why}). Use that version or a later one."
    if LOCKED in said.casefold() and "is locked" not in str(error):
        return "Its state is locked by somebody who does not say who. Wait until that run has ended, and plan again."
    return str(error)


def _as_they_end(work: Iterable[Future[Planned]]) -> Iterator[Future[Planned]]:
    """Yield each as it is done, looking up several times a second so that Ctrl-C is heard."""
    waiting = set(work)
    while waiting:
        done, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        yield from done


def changed_resources(raw: JSON) -> dict[str, str]:
    """Return what a plan does to which resource, by address: for comparing a later plan with an approved one."""
    return {
        row["address"]: "/".join(row["change"]["actions"])
        for row in raw.get("resource_changes") or ()
        if row.get("mode") == "managed" and row["change"]["actions"] not in (["no-op"], ["read"])
    }
