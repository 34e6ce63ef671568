"""Start the agent, or say in one sentence why this machine's Python cannot run it.

This file is read by whatever Python the machine has, so it uses nothing newer than Python 3.6.
"""

import subprocess
import sys

# runner/iae is written for it, and so is the older of the two sets of libraries.
OLDEST = (3, 8)


def start() -> int:
    """Run the agent; never return from a machine that cannot run it without turning that machine off."""
    if sys.version_info < OLDEST:
        return refuse(OLDEST, "")
    from runner.iae.libraries import MODERN, choose_libraries

    if not choose_libraries(sys.path):
        return refuse(MODERN, "; this agent was built without the libraries for older ones (`make setup-old`)")
    from runner.iae.main import main

    return main(sys.argv[1:])


def refuse(needed: "tuple[int, ...]", why: str) -> int:
    """Say which Python is needed, and turn the machine off."""
    have, need = (".".join(map(str, version[:2])) for version in (sys.version_info, needed))
    sys.stderr.write(f"mayfly agent: Python {need} or newer is needed, and python3 of this image is {have}{why}\n")
    subprocess.call(["shutdown", "-h", "now"])
    return 1


if __name__ == "__main__":
    sys.exit(start())
