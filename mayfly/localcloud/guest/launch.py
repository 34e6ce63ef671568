"""Turns itself into an instance: limits first, then the sandbox takes this process's place.

Run as `python -I -S launch.py JSON`. Doing this in a process of its own keeps code from running between fork and
exec of the many-threaded server, where it may deadlock.
"""

import ctypes
import json
import os
import resource
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1
_POLITE = 5
"""Niceness of instances: on a small machine, what a person waits for goes before what they left to run."""


def main() -> None:
    """Set the limits that the argument names and become its command."""
    plan = json.loads(sys.argv[1])
    if sys.platform == "linux":
        # Whatever way the server ends, this process ends with it, and the sandbox with this process.
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != plan["parent"]:
            sys.exit(1)
        os.sched_setaffinity(0, plan["cpus"])
    for group in plan["groups"]:
        with open(group, "w", encoding="ascii") as file:  # noqa: PTH123 - every import counts, once per instance
            file.write(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if plan["data_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (plan["data_bytes"], plan["data_bytes"]))
    os.nice(_POLITE)
    os.umask(0o022)
    os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606 - a list, and no shell


if __name__ == "__main__":
    main()
