"""Start the agent, or say in one sentence why this machine's Python cannot run it.

This file is read by whatever Python the machine has, so it uses nothing newer than Python 3.6.
"""

import subprocess
import sys

# botocore of 2026 asks for it.
OLDEST = (3, 10)


def start() -> int:
    """Run the agent; never return from a machine that cannot run it without turning that machine off."""
    if sys.version_info < OLDEST:
        have, need = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST))
        sys.stderr.write(f"mayfly agent: Python {need} or newer is needed, and python3 of this image is {have}\n")
        subprocess.call(["shutdown", "-h", "now"])
        return 1
    from runner.iae.main import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(start())
