"""Resolve the locks anew from pyproject.toml, for every supported Python, with hashes: `make lock`.

- `runtime.txt`: what `mayfly` needs, the embedded cloud and PostgreSQL included, and the build tools of its own wheel.
- `dev.txt`: the same and what tests, lint and docs need.
- `agent.txt`: what the agent carries for instances with Python 3.8 or 3.9.
- `setup.txt`: uv alone, at the version of dev.txt: what set-up fetches with pip before it has uv.
- `terraform.txt` is not touched: see runner/library.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from install import UV, pip_options, uv_environment

PROJECT = Path(__file__).resolve().parent.parent
UNIVERSAL = ("--universal", "--python-version", "3.11", "pyproject.toml")
LOCKS = {
    "dev": (*UNIVERSAL, "--extra", "local", "--extra", "postgres", "--extra", "setup", "--extra", "dev"),
    "runtime": (*UNIVERSAL, "--extra", "local", "--extra", "postgres", "--extra", "setup"),
    # What suits 3.8 suits 3.9; all of it is pure Python, so any interpreter can find out what it needs.
    "agent": ("--python-version", "3.8", "--no-python-downloads", "--group", "pyproject.toml:agent"),
}
"""What each lock is resolved from."""


def main() -> int:
    """Write the locks; stop at the first that cannot be resolved."""
    environment = uv_environment(pip_options(), os.environ)
    command = [str(UV), "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    for name, source in LOCKS.items():
        lock = PROJECT / "locks" / f"{name}.txt"
        done = subprocess.run([*command, *source, "-o", str(lock)], cwd=PROJECT, env=environment, check=False)
        if done.returncode:
            return done.returncode
        print(f"wrote locks/{name}.txt")
    dev = (PROJECT / "locks" / "dev.txt").read_text(encoding="utf-8")
    uv = re.search(r"(?m)^uv==(?:.*\\\n)+.*\n", dev)
    if uv is None:
        print("locks/dev.txt names no uv", file=sys.stderr)
        return 1
    (PROJECT / "locks" / "setup.txt").write_text(uv.group(), encoding="utf-8")
    print("wrote locks/setup.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
