"""Whom the analysis runs as: not as root, who owns the machine, its log and its credentials."""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from state.values import dataclass

TASK_USER = "mayfly"
TASK_UID = 60550
"""For an image that has no account of that name: the kernel needs none to become a number, and systemd's list of user
ids leaves this one to nobody."""

_UMASK = 0o022


@dataclass(frozen=True, kw_only=True)
class User:
    """Whom the analysis runs as."""

    uid: int
    gid: int
    name: str


def choose_user(uid_map: Path = Path("/proc/self/uid_map"), *, is_root: bool | None = None) -> User | None:
    """Return the ordinary user that an analysis runs as: the image's own account for it, else one with a number only.

    None when it has to run as the agent does: the agent is not root, or it is in a sandbox that knows one user only.

    Args:
        uid_map: which users there are in this namespace.
        is_root: whether the agent is root; asks the kernel unless told.
    """
    if not (os.geteuid() == 0 if is_root is None else is_root):
        return None
    user = User(uid=TASK_UID, gid=TASK_UID, name=TASK_USER)
    with suppress(KeyError):
        entry = pwd.getpwnam(TASK_USER)
        user = User(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)
    with suppress(OSError, ValueError):
        ranges = [tuple(map(int, line.split())) for line in uid_map.read_text().splitlines()]
        if not any(first <= user.uid < first + count for first, _, count in ranges):
            return None
    return user


def start_as(user: User | None) -> dict[str, Any]:
    """Return how subprocess.Popen is told whom a program runs as, and that what it writes may be read by everybody.

    Python 3.8 has no words for it, so the child itself changes before it becomes the program. That is safe beside other
    threads because it makes three calls to the kernel and takes no lock.

    Args:
        user: whom it runs as; None for whoever this is.
    """
    if sys.version_info < (3, 9):
        return {"preexec_fn": lambda: _become(user)}
    named = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    return {"umask": _UMASK, **named}


def _become(user: User | None) -> None:
    os.umask(_UMASK)
    if user is not None:
        os.setgroups([])
        os.setgid(user.gid)
        os.setuid(user.uid)
