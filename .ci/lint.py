"""Run every linter, show what each complains about, and end with the first one's exit code.

All run, however early one fails: a person mends everything in one go. `--style` leaves out the tests of the modules,
which `make test` runs as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runner.toolchain import find_toolchain
from state.errors import MayflyError

PROJECT = Path(__file__).resolve().parent.parent
BIN = PROJECT / ".venv" / "bin"
MODULES = "tests/contracts/test_modules.py"


def main(arguments: Sequence[str]) -> int:
    """Return 0 when nobody complains."""
    if arguments not in ([], ["--style"]):
        print("usage: lint.py [--style]", file=sys.stderr)
        return 2
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
    if not arguments:
        tested = [BIN / "python", "-m", "pytest", "--quiet", MODULES]
        codes.append(report("modules", lambda: complaints(tested)))
    return next(filter(None, codes), 0)


def report(name: str, work: Callable[[], str]) -> int:
    """Run one check; what it complains about is shown. Return 1 when it does."""
    start = time.monotonic()
    said = work()
    verdict = "FAILED" if said else "ok"
    print(f"{said}{name:28} {verdict:6} {time.monotonic() - start:6.1f} s", flush=True)
    return 1 if said else 0


def complaints(command: Sequence[Path | str]) -> str:
    """Return what a command says when it fails, else nothing."""
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return (done.stdout.rstrip() or f"exit code {done.returncode}") + "\n" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
