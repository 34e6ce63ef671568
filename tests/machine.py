"""What tests must know of the machine that they share with other tests: its processes and its ports."""

from __future__ import annotations

import random
import socket

import psutil


def a_long_time() -> str:
    """Return seconds to sleep for, such as no other process of this machine sleeps: they tell whose process it is."""
    return str(random.randrange(10**8, 10**9))  # noqa: S311 - no secret


def processes_with(marker: str) -> list[int]:
    """Return the living processes of this machine whose command line says something."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(marker in word for word in process.cmdline()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended, collected or not: in a container nobody may collect an orphan."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def hold_port(port: int = 0) -> socket.socket:
    """Keep a port of loopback, any free one by default, from all who ask for any; a server may listen at it.

    Both sides say SO_REUSEADDR, and only one listens. Close what is returned when no server will come back any more.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held
