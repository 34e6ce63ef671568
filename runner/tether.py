"""Run a program that is told when its parent dies: `python tether.py PARENT PROGRAM ARGUMENT …`.

A Terraform whose parent is gone must stop, save its state and let go of its lock, or the next one waits for it. The
kernel tells a child of its parent's death only when the child asked for it before it became the program; that is all
this file does. It is run as a program of its own, because code between fork and exec is unsafe beside threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Ask for SIGINT when `parent` dies, then become `command`.

    SIGINT is also given back its meaning: a shell ignores it for what it starts in the background, and that is
    inherited.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        sys.exit("the process that asked for this one is gone already")
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell on purpose


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
