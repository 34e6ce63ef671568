"""Whom the analysis runs as: not as root, who owns the machine, its log and its credentials."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TASK_USER = "mayfly"
TASK_UID = 60550
"""For an image that has no account of that name: the kernel needs none to become a number, and systemd's list of user
ids leaves this one to nobody."""


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
