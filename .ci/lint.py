"""Run every linter, show what each complains about, and end with the first one's exit code.

All run, however early one fails: a person mends everything in one go.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.terraform import Terraform, terraform_environment
from runner.toolchain import Toolchain, find_toolchain
from state.errors import MayflyError

PROJECT = Path(__file__).resolve().parent.parent
BIN = PROJECT / ".venv" / "bin"
WORK = PROJECT / ".mayfly" / "lint"
MODULES_AT_ONCE = 2


def main() -> int:
    """Return 0 when nobody complains."""
    codes = [
        report("ruff check", lambda: complaints([BIN / "ruff", "check", "--quiet", "."])),
        report("ruff format", lambda: complaints([BIN / "ruff", "format", "--check", "--quiet", "."])),
        report("mypy", lambda: complaints([BIN / "mypy"])),
        report("layers", lambda: complaints([BIN / "lint-imports"])),
    ]
    try:
        toolchain = find_toolchain(PROJECT / ".mayfly" / "terraform", os.environ)
    except MayflyError as error:
        print(f"{'terraform':28} FAILED: {error}")
        return next(filter(None, codes), error.exit_code)
    formatted = [toolchain.binary, "fmt", "-check", "-diff", "-recursive", "modules"]
    codes.append(report("terraform fmt", lambda: complaints(formatted)))
    modules = sorted(path.parent for path in (PROJECT / "modules").glob("*/main.tf"))
    Terraform(toolchain, {}).lock_file()  # prepares the provider once, before many ask for it
    with ThreadPoolExecutor(MODULES_AT_ONCE) as pool:
        codes += pool.map(
            lambda module: report(f"modules/{module.name}", lambda: check_module(toolchain, module)), modules
        )
    return next(filter(None, codes), 0)


def report(name: str, work: Callable[[], str]) -> int:
    """Run one check; what it complains about is shown. Return 1 when it does."""
    start = time.monotonic()
    said = work()
    verdict = "FAILED" if said else "ok"
    print(f"{said}{name:28} {verdict:6} {time.monotonic() - start:6.1f} s", flush=True)
    return 1 if said else 0


def complaints(command: Sequence[Path | str], *, cwd: Path = PROJECT, env: dict[str, str] | None = None) -> str:
    """Return what a command says when it fails, else nothing."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return (done.stdout.rstrip() or f"exit code {done.returncode}") + "\n" if done.returncode else ""


def check_module(toolchain: Toolchain, module: Path) -> str:
    """Validate and test one module in a copy, so that nothing is left beside the source."""
    copy = WORK / module.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(module, copy, ignore=shutil.ignore_patterns(".terraform*"))
    terraform = Terraform(toolchain, {})
    try:
        terraform.prepare(copy)
        terraform.validate(copy)
        for example in sorted(copy.glob("examples/*/main.tf")):
            terraform.prepare(example.parent)
            terraform.validate(example.parent)
    except MayflyError as error:
        return f"{error}\n"
    if not module.name.startswith("_") and not list(copy.glob("examples/*/main.tf")):
        return f"modules/{module.name} has no examples\n"
    if not list(copy.glob("tests/*.tftest.hcl")):
        return "" if module.name.startswith("_") else f"modules/{module.name} has no tests\n"
    env = terraform_environment(toolchain, {}, os.environ)
    return complaints([toolchain.binary, "test", "-no-color"], cwd=copy, env=env)


if __name__ == "__main__":
    sys.exit(main())
