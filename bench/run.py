"""Runs the measurements of this folder one after the other: all, or those named (`make bench ARGS=compile`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """Run them; the exit code is 1 when one of them found a limit broken."""
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run" and not path.stem.startswith("_"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"There is no {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    codes = []
    for name in names or known:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([sys.executable, str(FOLDER / f"{name}.py")], check=False).returncode)
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
