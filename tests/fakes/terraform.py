"""A Terraform without processes that keeps the contract of tests/contracts/test_terraform_contract.py.

It reads just enough of a root to count its resources, keeps a state file where Terraform would, and lets a test say
what an apply and a destroy do to the (fake) cloud, fail on demand, or take until they are stopped.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.events import Changes, Event, EventKind
from runner.provisioner import ApplySummary, OnEvent, PlannedChange, PlanSummary, Stop
from state.errors import TerraformError

LOCK = 'provider "registry.terraform.io/hashicorp/aws" {\n  version = "5.100.0"\n}\n'
RESOURCE = re.compile(r'^resource "(?P<type>\w+)" "(?P<name>\w+)" \{(?P<body>.*?)^\}', re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r'^output "(?P<name>\w+)" \{\s*value = (?P<value>[^\n]+)\n', re.MULTILINE)
MODULE = re.compile(r'^module "(?P<name>\w+)" \{.*?source\s*=\s*"\./(?P<folder>[^"]+)"', re.MULTILINE | re.DOTALL)
SLOW = "sleep "
Effect = Callable[[Path], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    command: str
    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)


class FakeTerraform:
    """Has the methods of runner.terraform.Terraform.

    A test may set `on_apply` and `on_destroy`: they get the root and change the test's cloud; what `on_apply` returns
    becomes the outputs, and ids under "instances" become the aws_instance resources of the state. `fail` makes the
    next calls of a command raise; `hold` makes them wait. `calls` tells what was asked, in order.
    """

    def __init__(self, *, on_apply: Effect | None = None, on_destroy: Effect | None = None) -> None:
        self.on_apply, self.on_destroy = on_apply, on_destroy
        self.states: Path | None = None  # where states lie that are kept in S3, one for all machines
        self.calls: list[Call] = []
        self._failures: dict[str, deque[Exception]] = {}
        self._held: dict[str, threading.Event] = {}

    # what a test says

    def fail(self, command: str, *errors: Exception) -> None:
        """Raise these errors from the next calls of a command, one each, before anything is done."""
        self._failures.setdefault(command, deque()).extend(errors)

    def hold(self, command: str) -> threading.Event:
        """Make a command wait until the event is set, or until it is stopped."""
        return self._held.setdefault(command, threading.Event())

    def save_partial(self, root: Path, outputs: Mapping[str, Any], *, tainted: Collection[str] = ()) -> None:
        """Keep what an apply made before it failed; those of `tainted` tasks it has given up on."""
        addresses = [f'module.job.aws_instance.task["{number}"]' for number in outputs["instances"]]
        self._save(root, addresses, outputs, tainted=tainted)

    def commands(self) -> list[str]:
        return [call.command for call in self.calls]

    # what the runner asks

    def lock_file(self) -> str:
        return LOCK

    def prepare(self, root: Path) -> None:
        self._enter("prepare", root)
        (root / ".terraform.lock.hcl").write_text(LOCK)

    def init(self, root: Path, backend: Mapping[str, str]) -> None:
        self._enter("init", root)
        (root / ".terraform").mkdir(exist_ok=True)
        (root / ".terraform" / "backend.json").write_text(json.dumps(dict(backend)))

    def validate(self, root: Path) -> None:
        self._enter("validate", root)
        self._code("validate", root)

    def plan(
        self,
        root: Path,
        out: Path | None = None,
        refresh: bool = True,
        on_event: OnEvent | None = None,
        *,
        log: Path | None = None,
        stop: Stop | None = None,
    ) -> PlanSummary:
        self._enter("plan", root, stop, refresh=refresh)
        missing = self._missing("plan", root)
        tell = _teller(on_event, log)
        for address in missing:
            tell(Event(kind=EventKind.PLANNED, message=f"{address}: Plan to create", address=address, action="create"))
        tell(_summary("plan", add=len(missing)))
        if out is not None:
            out.write_text(json.dumps({"planned": missing}))
        return PlanSummary(
            add=len(missing),
            change=0,
            destroy=0,
            changes=tuple(PlannedChange(address=address, action="create") for address in missing),
        )

    def apply(
        self,
        root: Path,
        parallelism: int = 10,
        on_event: OnEvent | None = None,
        log: Path | None = None,
        *,
        plan: Path | None = None,
        refresh: bool = True,
        stop: Stop | None = None,
    ) -> ApplySummary:
        self._enter("apply", root, stop, parallelism=parallelism, plan=plan, refresh=refresh)
        missing, tell = self._missing("apply", root), _teller(on_event, log)
        for kind, verb in (
            (EventKind.PLANNED, "Plan to create"),
            (EventKind.APPLY_START, "Creating..."),
            (EventKind.APPLY_COMPLETE, "Creation complete"),
        ):
            for address in missing:
                tell(Event(kind=kind, message=f"{address}: {verb}", address=address, action="create"))
        outputs = {one["name"]: _literal(one["value"]) for one in OUTPUT.finditer(self._code("apply", root))}
        outputs |= self.on_apply(root) or {} if self.on_apply else {}
        self._save(root, [*self._known(root), *missing], outputs)
        tell(_summary("apply", add=len(missing)))
        planned = tuple(PlannedChange(address=address, action="create") for address in missing) if plan is None else ()
        return ApplySummary(add=len(missing), change=0, destroy=0, seconds=0.0, outputs=dict(outputs), planned=planned)

    def destroy(
        self,
        root: Path,
        parallelism: int = 10,
        on_event: OnEvent | None = None,
        log: Path | None = None,
        refresh: bool = True,
        *,
        stop: Stop | None = None,
    ) -> ApplySummary:
        self._enter("destroy", root, stop, parallelism=parallelism, refresh=refresh)
        known, tell = self._known(root), _teller(on_event, log)
        if self.on_destroy:
            self.on_destroy(root)
        for address in known:
            message = f"{address}: Destruction complete"
            tell(Event(kind=EventKind.APPLY_COMPLETE, message=message, address=address, action="delete"))
        self._save(root, [], {})
        tell(_summary("destroy", destroy=len(known)))
        return ApplySummary(add=0, change=0, destroy=len(known), seconds=0.0)

    def output(self, root: Path) -> dict[str, Any]:
        self._enter("output", root)
        outputs: dict[str, Any] = self._state(root).get("outputs", {})
        return {name: one["value"] for name, one in outputs.items()}

    def show(self, root: Path, plan: Path | None = None) -> dict[str, Any]:
        self._enter("show", root)
        if plan is None:
            return {"format_version": "1.0", "values": self._state(root)}
        planned = json.loads(plan.read_text())["planned"]
        return {
            "format_version": "1.2",
            "resource_changes": [{"address": address, "change": {"actions": ["create"]}} for address in planned],
        }

    def forget(self, root: Path, addresses: Sequence[str]) -> None:
        self._enter("state rm", root, addresses=tuple(addresses))
        state = self._state(root)
        outputs = {name: one["value"] for name, one in state.get("outputs", {}).items()}
        for address in addresses:
            number = address.partition('["')[2].removesuffix('"]')
            outputs["instances"] = {n: one for n, one in outputs["instances"].items() if str(n) != number}
        self._save(root, [one for one in self._known(root) if one not in addresses], outputs)

    def accept(self, root: Path, addresses: Sequence[str]) -> None:
        self._enter("untaint", root, addresses=tuple(addresses))
        outputs = {name: one["value"] for name, one in self._state(root).get("outputs", {}).items()}
        self._save(root, self._known(root), outputs)

    def unlock(self, root: Path, lock: str) -> None:
        self._enter("force-unlock", root, lock=lock)

    def pull_state(self, root: Path) -> str:
        self._enter("state pull", root)
        path = self._path(root)
        return path.read_text() if path.exists() else ""

    # ----------------------------------------------------------------------------------------------------------------

    def _enter(self, command: str, root: Path, stop: Stop | None = None, **options: object) -> None:
        """Note the call; fail, wait or stop as the test wants it."""
        if not root.is_dir():
            raise TerraformError(f"{root}: there is no such folder for terraform {command}.", command=command)
        self.calls.append(Call(command=command, root=root, options=options))
        if self._failures.get(command):
            raise self._failures[command].popleft()
        gate = self._held.get(command)
        if gate is None and command == "apply" and SLOW in self._code(command, root):
            gate = threading.Event()
        while gate is not None and not gate.wait(0.01):
            if stop is not None and stop():
                raise TerraformError(f"{root}: terraform {command} was stopped as asked.", command=command)

    def _code(self, command: str, root: Path) -> str:
        """Return the root's code; braces that do not match are the mistake that this fake notices."""
        text = "\n".join(path.read_text() for path in sorted(root.glob("*.tf")))
        if text.count("{") != text.count("}"):
            message = "Unclosed configuration block"
            raise TerraformError(
                f"{root}: terraform {command} failed: {message}", command=command, diagnostics=[message]
            )
        return text

    def _missing(self, command: str, root: Path) -> list[str]:
        """Return the addresses that an apply would make."""
        known = set(self._known(root))
        return [address for address in self._wanted(command, root, "") if address not in known]

    def _wanted(self, command: str, folder: Path, prefix: str) -> list[str]:
        code = self._code(command, folder)
        wanted = []
        for one in RESOURCE.finditer(code):
            address = f"{prefix}{one['type']}.{one['name']}"
            if "for_each = var.tasks" in one["body"].replace("  ", " "):
                tasks = json.loads((folder.parent / "job.auto.tfvars.json").read_text())["tasks"]
                wanted += [f'{address}["{number}"]' for number in tasks]
            else:
                wanted.append(address)
        for module in MODULE.finditer(code):
            wanted += self._wanted(command, folder / module["folder"], f"{prefix}module.{module['name']}.")
        return wanted

    def _path(self, root: Path) -> Path:
        backend = root / ".terraform" / "backend.json"
        settings = json.loads(backend.read_text()) if backend.exists() else {}
        if self.states is not None and "key" in settings:
            return self.states / settings["key"]
        return Path(settings["path"]) if "path" in settings else root / "terraform.tfstate"

    def _state(self, root: Path) -> dict[str, Any]:
        path = self._path(root)
        state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return state

    def _known(self, root: Path) -> list[str]:
        known: list[str] = self._state(root).get("addresses", [])
        return known

    def _save(
        self, root: Path, addresses: list[str], outputs: Mapping[str, Any], *, tainted: Collection[str] = ()
    ) -> None:
        path = self._path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        instances = outputs.get("instances", {}) if addresses else {}
        state = {
            "version": 4,
            "addresses": addresses,
            "outputs": {name: {"value": value} for name, value in outputs.items()},
            "resources": [
                {
                    "type": "aws_instance",
                    "name": "task",
                    "module": "module.job",
                    "instances": [
                        {"index_key": n, "attributes": {"id": one}, **({"status": "tainted"} if n in tainted else {})}
                    ],
                }
                for n, one in instances.items()
            ],
        }
        path.write_text(json.dumps(state))


def _teller(on_event: OnEvent | None, log: Path | None) -> OnEvent:
    """Return what hands an event on and writes it down."""

    def tell(event: Event) -> None:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(json.dumps({"@message": event.message, "type": event.kind}) + "\n")
        if on_event is not None:
            on_event(event)

    return tell


def _literal(text: str) -> Any:
    """Return the value of a literal; a reference is None, because nothing is evaluated here."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _summary(operation: str, *, add: int = 0, destroy: int = 0) -> Event:
    changes = Changes(operation=operation, add=add, change=0, destroy=destroy)
    return Event(kind=EventKind.SUMMARY, message=f"{operation}: {add} added, {destroy} destroyed", changes=changes)
