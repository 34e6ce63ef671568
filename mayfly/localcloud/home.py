"""The folder of one embedded cloud: where everything it must remember lies, and who may use it.

Everything in it is private to the person who runs it (files 0600, folders 0700): it holds keys and data.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

from state.errors import EnvironmentMissingError, StateError
from state.files import DRAFT, hold, write_whole

LOOPBACK = "127.0.0.1"
_UNIX_PATH = 100
"""Bytes of a unix socket's path that every system takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The paths of one embedded cloud.

    Attributes:
        root: its folder.
    """

    root: Path

    @property
    def cloud_file(self) -> Path:
        """Where the running cloud is and how to talk to it; there only while it is ready."""
        return self.root / "cloud.json"

    @property
    def ports_file(self) -> Path:
        """The ports it used last, so that presigned URLs and clients outlive a restart."""
        return self.root / "ports.json"

    @property
    def keys_file(self) -> Path:
        """The administrator's access key, made at the first start."""
        return self.root / "keys.json"

    @property
    def state(self) -> Path:
        """What the control planes know, a file per service."""
        return self.root / "state"

    @property
    def machines_file(self) -> Path:
        """What EC2's control plane knows."""
        return self.state / "ec2.pickle"

    @property
    def objects(self) -> Path:
        """Object contents and their metadata."""
        return self.root / "objects"

    @property
    def instances(self) -> Path:
        """One folder per running instance: its disk. Emptied at every start."""
        return self.root / "instances"

    @property
    def consoles(self) -> Path:
        """The last console output of each instance."""
        return self.root / "consoles"

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self.root / "cloud.log"

    def prepare(self) -> None:
        """Make the folders; remove what an earlier cloud left that was killed: disks of instances, half written files.

        Raises:
            EnvironmentMissingError: the folder cannot be written to.
        """
        try:
            for folder in (self.root, self.state, self.objects, self.instances, self.consoles):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in self.instances.iterdir():
                shutil.rmtree(old, ignore_errors=True)
            for folder in (self.root, self.state, self.consoles):
                for draft in folder.glob(f"*{DRAFT}"):
                    draft.unlink()
        except OSError as error:
            raise EnvironmentMissingError(
                f"The folder of the embedded cloud, {self.root}, cannot be written to ({error.strerror}). "
                "Free disk space, mend its permissions, or name another with --home."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: two clouds on one folder would overwrite each other's state.

        Raises:
            StateError: another process holds it.
        """

        def refuse(holder: str) -> None:
            raise StateError(
                f"An embedded cloud already runs in {self.root} (process {holder}). "
                "Stop it first, or name another folder with --home."
            )

        with hold(self.root / "lock", refuse):
            yield


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, empty when there is none or it was cut short."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, as `write_file` does."""
    write_file(path, json.dumps(content, indent=1, sort_keys=True))


def write_file(path: Path, content: str | bytes | mmap, *, sync: bool = True) -> None:
    """Write a file whole or not at all, readable by its owner only, and see it onto the disk.

    The emulator leaves out drafts (`DRAFT`) when it reads its folders.

    Args:
        path: the file.
        content: what it shall hold.
        sync: whether it is on the disk when this returns; who says no calls `sync_files` later.

    Raises:
        OSError: the disk is full or the folder is gone; the old content stands.
    """
    write_whole(path, content, mode=0o600, sync=sync)


def sync_files(paths: Iterable[Path]) -> None:
    """See files onto the disk; those that are gone again need it no more.

    Raises:
        OSError: the disk does not take them.
    """
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:
            os.fdatasync(file.fileno())


def bind_port(asked: int, remembered: int) -> socket.socket:
    """Return a listening loopback socket: the port asked for, else the one used last, else any free one.

    Args:
        asked: 0 for no wish.
        remembered: 0 for none.

    Raises:
        EnvironmentMissingError: the port asked for is taken.
    """
    if asked:
        try:
            return _listen(asked)
        except OSError as error:
            raise EnvironmentMissingError(
                f"Port {asked} on {LOOPBACK} cannot be used ({error.strerror}). "
                "Stop what uses it, or ask for no certain port and get a free one."
            ) from error
    with suppress(OSError):
        return _listen(remembered)
    return _listen(0)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A server that was killed leaves connections in TIME_WAIT, which must not keep its successor from the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(256)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_unix(path: Path) -> socket.socket:
    """Return a listening unix socket; the path may be longer than the 107 bytes that the kernel's address holds."""
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path) if len(os.fsencode(path)) < _UNIX_PATH else f"/proc/self/fd/{folder}/{path.name}")
        listener.listen(256)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def free_bytes(folder: Path) -> int:
    """Return how much can still be written below a folder, bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
