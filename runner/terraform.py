"""The only caller of Terraform: one method per sub-command, values back, errors in words.

python-terraform builds the command lines. Its process handling is not used: it keeps all output until the end, leaves
Ctrl-C to chance, and turns a misspelt method into a sub-command.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import python_terraform

from runner.events import Changes, parse_diagnostic
from runner.execution import Execution, Watch, failure
from runner.prepared import Prepared, prepare_provider
from runner.provisioner import ApplySummary, OnEvent, PlanSummary, Stop
from runner.slots import Slots
from runner.toolchain import Toolchain, terraform_environment
from state.errors import TerraformError

Option = bool | int | str | None | dict[str, str] | type[python_terraform.IsFlagged]
YES = python_terraform.IsFlagged
"""The value of an option that stands alone, such as -json."""
PREPARE_S = 1800
"""How long an `init` may take, seconds: the first may have to download 150 MB."""


class Terraform:
    """Runs Terraform in root folders; runner/provisioner.py says what each method promises.

    Every command runs in a process group of its own, is interrupted once when it is to stop, and has `grace_s` to
    save its state before it is killed; see runner/process.py. One value serves many threads.
    """

    def __init__(
        self,
        toolchain: Toolchain,
        environment: Mapping[str, str],
        slots: Slots | None = None,
        *,
        grace_s: float = 300,
        lock_timeout_s: int = 60,
    ) -> None:
        """Keep what all commands share.

        Args:
            toolchain: the program, and where its provider comes from.
            environment: variables of AWS for the provider; others than the allowed ones are dropped.
            slots: limits how many heavy commands run at once; None for no limit.
            grace_s: seconds from the interrupt to the kill.
            lock_timeout_s: seconds to wait for a state that another Terraform holds.
        """
        self._toolchain = toolchain
        self._execution = Execution(
            environment=terraform_environment(toolchain, environment, os.environ), slots=slots, grace_s=grace_s
        )
        self._lock_timeout = f"{lock_timeout_s}s"
        # It reads the state file of its working folder when it is made; there is none in the null device.
        self._line = python_terraform.Terraform(working_dir=os.devnull, terraform_bin_path=str(toolchain.binary))
        self._prepared: Prepared | None = None

    def lock_file(self) -> str:
        """Return the text of the provider lock that workspaces get.

        Raises:
            EnvironmentMissingError: there is no provider to be had.
        """
        return self._provider().lock

    def served_by(self, attach: str) -> Terraform:
        """Return the same Terraform, working with a provider process that runs already (runner/review/provider.py)."""
        self._provider()
        environment = {**self._execution.environment, "TF_REATTACH_PROVIDERS": attach}
        served = copy.copy(self)
        vars(served)["_execution"] = replace(self._execution, environment=environment)
        return served

    def limited(self, slots: Slots, *, lock_timeout_s: int) -> Terraform:
        """Return the same Terraform, with another limit on how many run at once, and another patience with locks."""
        limited = copy.copy(self)
        vars(limited).update(_execution=replace(self._execution, slots=slots), _lock_timeout=f"{lock_timeout_s}s")
        return limited

    @property
    def provider_program(self) -> Path:
        """The AWS provider's program, the one whose hash stands in the lock."""
        folders = (folder for _, folder in self._provider().links)
        return next(program for folder in folders for program in folder.glob("terraform-provider-aws_v*"))

    @property
    def cache(self) -> Path:
        """A folder for what can be made anew."""
        return self._toolchain.cache

    @property
    def environment(self) -> Mapping[str, str]:
        """The whole environment that Terraform and its provider get."""
        return self._execution.environment

    def link(self, root: Path) -> None:
        """Give a root the prepared provider and its lock, and nothing else."""
        self._link(root)

    def prepare(self, root: Path) -> None:
        """Make a root without a backend block ready, instead of `init`. May be repeated.

        It gets the prepared provider, its lock, and the list of its modules, which is all that `init` would do.

        Raises:
            EnvironmentMissingError: there is no provider to be had.
            TerraformError: a module of the root is not there.
        """
        self._link(root)
        if not (root / ".terraform" / "modules" / "modules.json").is_file() and _calls_modules(root):
            self._execution.read(self._command("get", no_color=YES), root)

    def init(self, root: Path, backend: Mapping[str, str]) -> None:
        """Initialise a root with a backend block.

        The prepared provider is linked in first, so that nothing is downloaded again.

        Args:
            root: the folder.
            backend: settings of the backend, from state/backend.py; they replace earlier ones.
        """
        self._link(root)
        self._init(root, backend)

    def validate(self, root: Path) -> None:
        """Check the root's code."""
        finished, text, said = self._execution.collect(self._command("validate", json=YES), root)
        try:
            found = [parse_diagnostic(one) for one in json.loads(text)["diagnostics"]]
        except (ValueError, KeyError):
            found = []
        errors = [one for one in found if one.severity == "error"]
        if errors or finished.code != 0:
            raise failure("validate", root, finished, errors=errors, said=said)

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
        """Tell what an apply would do; keep the plan in `out`."""
        where = str(out.resolve()) if out else None
        command = self._command("plan", refresh=refresh, out=where, **self._flags())
        watch = Watch(on_event)
        self._execution.follow(command, root, watch, heavy=True, log=log, stop=stop)
        changes = watch.changes or Changes(operation="plan", add=0, change=0, destroy=0)
        return PlanSummary(
            add=changes.add,
            change=changes.change,
            destroy=changes.destroy,
            changes=tuple(watch.planned),
            drift=tuple(watch.drift),
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
        """Make what the root says, or just what the kept `plan` says.

        Args:
            root: the folder.
            parallelism: resources made at the same time; for a job, its number of instances.
            on_event: told each thing as it happens, in this thread.
            log: every line is appended to it as it comes.
            plan: a plan kept by `plan`.
            refresh: whether what the state knows is looked at first; a kept plan has that behind it.
            stop: interrupts it when it says True; what was made by then is in the state.
        """
        kept = [str(plan.resolve())] if plan else []
        command = self._command(
            "apply",
            *kept,
            auto_approve=YES,
            parallelism=parallelism,
            refresh=None if plan else refresh,
            **self._flags(),
        )
        watch = Watch(on_event)
        finished = self._execution.follow(command, root, watch, heavy=True, log=log, stop=stop)
        return _summary("apply", watch, finished.seconds)

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
        """Remove all that the root's state knows.

        With `refresh` an instance that is gone already costs no time; without, ten seconds.
        """
        command = self._command("destroy", auto_approve=YES, parallelism=parallelism, refresh=refresh, **self._flags())
        watch = Watch(on_event)
        finished = self._execution.follow(command, root, watch, heavy=True, log=log, stop=stop)
        return _summary("destroy", watch, finished.seconds)

    def output(self, root: Path) -> dict[str, Any]:
        """Return the root's outputs, values by name, sensitive ones too."""
        text = self._execution.read(self._command("output", json=YES), root)
        return {name: output["value"] for name, output in json.loads(text).items()}

    def show(self, root: Path, plan: Path | None = None) -> dict[str, Any]:
        """Return Terraform's JSON description of a kept plan, or of the state."""
        kept = [str(plan.resolve())] if plan else []
        described: dict[str, Any] = json.loads(self._execution.read(self._command("show", *kept, json=YES), root))
        return described

    def forget(self, root: Path, addresses: Sequence[str]) -> None:
        """Take resources out of the root's state, so that an apply makes them anew; they stay as they are."""
        self._execution.read(self._command("state rm", *addresses, lock_timeout=self._lock_timeout), root)

    def accept(self, root: Path, addresses: Sequence[str]) -> None:
        """Take resources that Terraform gave up on while it made them as they are: an apply does not replace them."""
        for address in addresses:  # `untaint` takes one at a time
            self._execution.read(self._command("untaint", address, lock_timeout=self._lock_timeout), root)

    def unlock(self, root: Path, lock: str) -> None:
        """Break the lock on a root's state. Only for one whose holder is known to be dead."""
        self._execution.read(self._command("force-unlock", lock, force=YES), root)

    def pull_state(self, root: Path) -> str:
        """Return the root's state as Terraform keeps it, JSON; empty when there is none."""
        return self._execution.read(self._command("state pull"), root).strip()

    def _provider(self) -> Prepared:
        """Return the prepared provider; make it if need be."""
        if self._prepared is None:
            prepared = prepare_provider(self._toolchain, lambda folder: self._init(folder, {}))
            served = {**self._execution.environment, "TF_CLI_CONFIG_FILE": str(prepared.config)}
            self._execution, self._prepared = replace(self._execution, environment=served), prepared
        return self._prepared

    def _link(self, root: Path) -> None:
        """Link the provider into a root."""
        try:
            self._provider().link_into(root)
        except OSError as error:
            raise TerraformError(
                f"{root}: cannot be made ready for Terraform ({error.strerror}). Look at its disk and its owner.",
                command="init",
            ) from error

    def _init(self, root: Path, backend: Mapping[str, str]) -> None:
        """Run `init`. Its events are only read for what went wrong."""
        command = self._command("init", input=False, json=YES, reconfigure=YES, backend_config=dict(backend))
        self._execution.follow(command, root, Watch(), heavy=False, timeout_s=PREPARE_S)

    def _flags(self) -> dict[str, Option]:
        """Return the options of every command that works on a state."""
        return {"input": False, "json": YES, "lock_timeout": self._lock_timeout}

    def _command(self, name: str, *arguments: str, **options: Option) -> list[str]:
        """Return a command line: the program, `name`, options, arguments. An option that is None is left out."""
        line: list[str] = self._line.generate_cmd_string(name, *arguments, **options)
        return line


def _summary(name: str, watch: Watch, seconds: float) -> ApplySummary:
    """Return what an apply or a destroy did. Nothing to do is said in no summary."""
    changes = watch.changes or Changes(operation=name, add=0, change=0, destroy=0)
    return ApplySummary(
        add=changes.add,
        change=changes.change,
        destroy=changes.destroy,
        seconds=seconds,
        outputs=watch.outputs if name == "apply" else {},
        planned=tuple(watch.planned),
    )


def _calls_modules(root: Path) -> bool:
    """Tell whether a root has module blocks."""
    return any('module "' in file.read_text(encoding="utf-8") for file in root.glob("*.tf"))
