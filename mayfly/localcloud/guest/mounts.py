"""Builds a sandbox's file system when there is no bubblewrap: the same mounts, made by the first process inside.

Runs in fresh user and mount namespaces that util-linux's `unshare` made, where this process may mount and nobody
outside can see it.
"""

import ctypes
import os
import platform
from pathlib import Path

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_LOCKED = {os.ST_NOSUID: _NOSUID, os.ST_NODEV: _NODEV, os.ST_NOEXEC: _NOEXEC, os.ST_NOATIME: 1024}
_LOCKED |= {os.ST_NODIRATIME: 2048, os.ST_RELATIME: 1 << 21}
"""Flags that a remount inside a user namespace must repeat: the kernel refuses to drop them."""
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "arm64": 41}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LIBC = ctypes.CDLL(None, use_errno=True)


def build(root: str, mounts: list[list[str]]) -> None:
    """Make the mounts below `root`, then make it the root of this namespace, with no way back.

    Args:
        root: an empty folder.
        mounts: kind, source and target, in order; kinds are those of `world.Mount`.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=0755")
    for kind, source, target in mounts:
        _MAKERS[kind](source, root + target)
    old = Path(root, ".old")
    old.mkdir()
    os.chdir(root)
    if _LIBC.syscall(_PIVOT_ROOT[platform.machine()], b".", b".old") != 0:
        _fail("pivot_root", root)
    os.chdir("/")
    if _LIBC.umount2(b"/.old", _DETACH) != 0:
        _fail("umount", "/.old")
    Path("/.old").rmdir()


def _bind(source: str, target: str) -> None:
    _make_place(source, target)
    _mount(source, target, None, _BIND | _REC)


def _bind_read_only(source: str, target: str) -> None:
    _bind(source, target)
    for place in _mounts_below(target):
        flags = os.statvfs(place).f_flag
        kept = sum(flag for bit, flag in _LOCKED.items() if flags & bit)
        _mount(None, place, None, _BIND | _REMOUNT | _RDONLY | kept)


def _bind_read_only_if_there(source: str, target: str) -> None:
    if Path(source).exists():
        _bind_read_only(source, target)


def _tmpfs(source: str, target: str) -> None:
    del source
    Path(target).mkdir(parents=True, exist_ok=True)
    _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, "mode=0755")


def _folder(source: str, target: str) -> None:
    del source
    Path(target).mkdir(parents=True, exist_ok=True)


def _proc(source: str, target: str) -> None:
    del source
    Path(target).mkdir(parents=True, exist_ok=True)
    _mount("proc", target, "proc", _NOSUID | _NODEV | _NOEXEC)


def _devices(source: str, target: str) -> None:
    _tmpfs(source, target)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{target}/{name}")
    for name, points in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path(target, name).symlink_to(f"/proc/self/fd{points}")
    Path(target, "shm").mkdir()
    _mount("tmpfs", f"{target}/shm", "tmpfs", _NOSUID | _NODEV, "mode=1777")


def _symlink(source: str, target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).symlink_to(source)


_MAKERS = {
    "bind": _bind,
    "ro-bind": _bind_read_only,
    "ro-bind-try": _bind_read_only_if_there,
    "dir": _folder,
    "tmpfs": _tmpfs,
    "proc": _proc,
    "dev": _devices,
    "symlink": _symlink,
}


def _make_place(source: str, target: str) -> None:
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()


def _mounts_below(target: str) -> list[str]:
    found = [target]
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as lines:
        for line in lines:
            place = line.split()[4].encode("latin-1").decode("unicode_escape")
            if place.startswith(target + "/"):
                found.append(place)
    return found


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [part.encode() if part is not None else None for part in (source, target, kind)]
    if _LIBC.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None) != 0:
        _fail("mount", target)


def _fail(what: str, where: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}", where)
