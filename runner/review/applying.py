"""Applies saved plans root by root: base first, then the others; after a failure it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from runner.provisioner import ApplySummary
from runner.review.planning import changed_resources
from runner.review.ready import Readier
from runner.review.saved import SavedPlan, SavedPlans, check_code, state_identity
from runner.terraform import Terraform
from state.backend import Backend
from state.errors import MayflyError, StateError, TerraformError

JOURNAL: Final = "applied.json"
STALE: Final = "saved plan is stale"
FAILED: Final = "failed"
DONE: Final = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applying:
    """All that applying saved plans needs.

    Attributes:
        terraform: runs them.
        backend: where the states are.
        build: folder of the generated roots.
        logs: folder for Terraform's logs.
    """

    terraform: Terraform
    backend: Backend
    build: Path
    logs: Path

    def apply(
        self,
        saved: SavedPlans,
        on_result: Callable[[str, ApplySummary | None], None],
        stop: Event | None = None,
    ) -> None:
        """Apply saved plans. `on_result` is told of each root; None means that an earlier run has applied it.

        Everything is checked before anything is changed. A root whose apply failed in the middle is planned anew when
        this is run again, and that plan is applied when it does nothing that was not approved.

        Raises:
            StateError: a plan is stale; nothing was applied by this run.
            TerraformError: a root failed; those that do not need it are applied all the same.
        """
        stop = stop or Event()
        journal = _Journal(saved)
        todo = [one for one in saved.plans if journal.status(one.root) != DONE]
        check_code(saved, self.build, self.backend, [one.root for one in todo])
        ready = Readier(self.terraform, self.backend)
        for one in todo:
            ready.make_ready(self.build / one.root, one.root)
        self._check_states([one for one in todo if journal.status(one.root) != FAILED])
        problems: list[MayflyError] = []
        for one in saved.plans:
            if one not in todo:
                on_result(one.root, None)
                continue
            try:
                done = self._apply(saved, one, stop, again=journal.status(one.root) == FAILED)
            except TerraformError as error:
                journal.note(one.root, FAILED)
                if one.root == "base" or stop.is_set():
                    raise
                problems.append(error)
            else:
                journal.note(one.root, DONE)
                on_result(one.root, done)
        if problems:
            raise TerraformError(
                "\n".join(map(str, problems)) + "\nRun the same command again: it goes on where it stopped.",
                command="apply",
            )

    def _check_states(self, plans: list[SavedPlan]) -> None:
        stale = [one.root for one in plans if state_identity(self.terraform, self.build / one.root) != one.state]
        if stale:
            raise StateError(
                f"The saved plans of {', '.join(stale)} are stale: their state has changed since, so somebody else has "
                "applied something. Nothing was applied. Plan again."
            )

    def _apply(self, saved: SavedPlans, one: SavedPlan, stop: Event, *, again: bool) -> ApplySummary:
        folder, log = self.build / one.root, self.logs / f"terraform-{one.root.replace('/', '-')}.log"
        self.logs.mkdir(parents=True, exist_ok=True)
        file = self._plan_rest(saved, one, stop) if again else saved.file(one.root)
        try:
            return self.terraform.apply(folder, log=log, plan=file, stop=stop.is_set)
        except TerraformError as error:
            if STALE in " ".join([str(error), *error.diagnostics]).casefold():
                raise StateError(
                    f"The saved plan of {one.root} is stale: its state changed while this ran. "
                    "It was not applied. Plan again."
                ) from error
            raise

    def _plan_rest(self, saved: SavedPlans, one: SavedPlan, stop: Event) -> Path:
        """Plan what is left of an approved plan that failed in the middle.

        Raises:
            StateError: more is to be done now than was approved.
        """
        folder, file = self.build / one.root, saved.folder / f"{one.root}.rest.tfplan"
        self.terraform.plan(folder, out=file, stop=stop.is_set)
        rest = changed_resources(self.terraform.show(folder, file))
        more = [address for address, action in rest.items() if not _is_within(action, one.changes.get(address, ""))]
        if more:
            raise StateError(
                f"{one.root}: what is left to do goes beyond what was approved ({', '.join(sorted(more))}). Plan again."
            )
        return file


def _is_within(action: str, approved: str) -> bool:
    """Whether an action is, or is the rest of, an approved one; a resource half made is made anew."""
    half = {"create": {"delete/create", "create/delete"}, "delete/create": {"create"}}
    return action == approved or approved in half.get(action, set())


class _Journal:
    """Which roots of a set of saved plans were applied; written after each."""

    def __init__(self, saved: SavedPlans) -> None:
        self._path, self._approval = saved.folder / JOURNAL, saved.approval
        self._roots: dict[str, str] = {}
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if said.get("approval") == self._approval:
            self._roots = said["roots"]

    def status(self, root: str) -> str:
        return self._roots.get(root, "")

    def note(self, root: str, status: str) -> None:
        self._roots[root] = status
        part = self._path.with_suffix(".part")
        part.write_text(
            json.dumps({"approval": self._approval, "roots": self._roots}, sort_keys=True), encoding="utf-8"
        )
        part.replace(self._path)
