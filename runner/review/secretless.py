"""Plans without an account: for pull requests of strangers, who get no credentials.

Nothing is asked of AWS: the credentials are no one's, no state is read, and what is there is not looked at. Each root
is planned from nothing, as it was and as it is, and the two are compared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from compiler.review.compare import compare_plans
from compiler.review.values import RootPlan, read_plan
from runner.review.planning import BUDGET_BYTES, Planned, Planner
from runner.slots import Slots
from runner.terraform import Terraform
from runner.toolchain import Toolchain

DUMMY: Final = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
OVERRIDE: Final = """\
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}
"""
ROOT: Final = re.compile(r"(base|(?:analyses|groups)/[^/]+)/main\.tf")
BACKEND: Final = re.compile(r'\n*^  backend "\w+" \{\}\n', re.MULTILINE)


def secretless_terraform(toolchain: Toolchain, region: str, slots: Slots) -> Terraform:
    """Return a Terraform that has nobody's credentials."""
    return Terraform(toolchain, {**DUMMY, "AWS_REGION": region}, slots)


def plan_without_secrets(
    terraform: Terraform,
    roots: list[str],
    after: Mapping[str, str],
    before: Mapping[str, str],
    *,
    work: Path,
    on_result: Callable[[Planned], None],
    memory: int = BUDGET_BYTES,
) -> list[RootPlan]:
    """Plan roots as they are, and as they were where they were, and return what changes between the two.

    Roots that are described no more are planned as they were, and come last: what they made goes, or stays behind.

    Args:
        terraform: one without credentials.
        roots: which.
        after: the generated files.
        before: the generated files of the revision that is compared with; empty to compare with nothing.
        work: folder for copies of the roots.
        on_result: told of each root as it is done; of what it was, too, with the name `before/ROOT`.
        memory: the most memory, bytes.
    """
    gone = sorted(_described(before) - _described(after))
    live = [root for root in roots if root not in gone]
    folders = {root: _write(work / "after", after, root) for root in live}
    folders |= {
        f"before/{root}": _write(work / "before", before, root)
        for root in (*live, *gone)
        if f"{root}/main.tf" in before
    }
    planner = Planner(terraform=terraform, ready=None, plans=work / "plans", refresh=False, memory=memory)
    done = {one.root: one for one in planner.plan(folders, on_result)}
    return [
        *(_compare(root, done[root], done.get(f"before/{root}"), same=_is_same(before, after, root)) for root in live),
        *(_take_leave(root, done[f"before/{root}"], before) for root in gone),
    ]


def _described(files: Mapping[str, str]) -> set[str]:
    """Return the roots that make something, without those that only let go of what was made."""
    named = {found[1] for path in files if (found := ROOT.fullmatch(path))}
    return {root for root in named if f"{root}/retired.auto.tfvars.json" not in files}


def _is_same(before: Mapping[str, str], after: Mapping[str, str], root: str) -> bool:
    """Whether all files of a root are what they were."""
    old, new = (
        {path: text for path, text in files.items() if path.startswith(f"{root}/")} for files in (before, after)
    )
    return old == new


def _write(folder: Path, files: Mapping[str, str], root: str) -> Path:
    """Write one root without its backend, with a provider that asks nothing."""
    for path, text in files.items():
        if path.startswith(f"{root}/"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(BACKEND.sub("\n", text) if path == f"{root}/main.tf" else text, encoding="utf-8")
    (folder / root / "secretless_override.tf").write_text(OVERRIDE, encoding="utf-8")
    return folder / root


def _compare(root: str, after: Planned, before: Planned | None, *, same: bool) -> RootPlan:
    if after.error:
        return RootPlan(root=root, error=after.error)
    if before is not None and before.error:
        return RootPlan(root=root, error=f"as it was: {before.error}")
    return read_plan(root, compare_plans(before.raw if before else None, after.raw, same=same))


def _take_leave(root: str, before: Planned, files: Mapping[str, str]) -> RootPlan:
    """Return what becomes of a root that is described no more: a bucket goes only when its blueprint said so."""
    if before.error:
        return RootPlan(root=root, error=f"as it was: {before.error}")
    values = files.get(f"{root}/analysis.auto.tfvars.json")
    keep = values is not None and not json.loads(values)["purge"]
    return read_plan(root, compare_plans(before.raw, None, keep=keep))
