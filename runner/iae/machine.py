"""The machine around a task: its id, its disk, its console, its switch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from runner.iae.libraries import data_files
from runner.iae.user import User
from state.values import dataclass

_METADATA = "http://169.254.169.254"


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of one task. The analysis may read all, and write to all but `inputs` and `config`."""

    root: Path
    inputs: Path
    config: Path
    results: Path
    scratch: Path
    reason: Path
    checkpoint: Path


def make_folders(root: Path, user: User | None) -> Folders:
    """Make the folders of a task and give the analysis what is its own."""
    root.chmod(0o755)
    names = {name: root / name for name in Folders.__dataclass_fields__ if name != "root"}
    for path in names.values():
        path.mkdir()
        path.chmod(0o755)
    folders = Folders(root=root, **names)
    if user is not None:
        for path in (folders.results, folders.scratch, folders.reason, folders.checkpoint):
            os.chown(path, user.uid, user.gid)
    return folders


def find_room(environ: Mapping[str, str]) -> Path:
    """Make a work folder where there is most room: on many systems /tmp lives in memory."""
    candidates = [environ.get("MAYFLY_WORK", ""), "/var/tmp", tempfile.gettempdir()]  # noqa: S108 - mkdtemp is safe there
    usable = [name for name in candidates if name and Path(name).is_dir() and os.access(name, os.W_OK)]
    best = max(usable, key=lambda name: shutil.disk_usage(name).free, default=".")
    room = Path(tempfile.mkdtemp(prefix="mayfly-", dir=best))
    room.chmod(0o711)  # the analysis runs as another user and must reach its own folders in there
    return room


def unpack_data(target: Path) -> Path | None:
    """Write botocore's data files to a folder: it reads files only, and the agent is a zip file.

    Returns:
        the folder; None when the agent does not run from a zip file.
    """
    archive = getattr(getattr(sys.modules["runner.iae"].__spec__, "loader", None), "archive", None)
    if archive is None:
        return None
    import zipfile

    with zipfile.ZipFile(archive) as file:
        for inside, name in data_files(file.namelist()).items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read(inside))
    return target


def find_instance(environ: Mapping[str, str]) -> str:
    """Ask the instance metadata service for this machine's id; empty when it does not answer."""
    return ask_metadata(environ, "instance-id")


def ask_metadata(environ: Mapping[str, str], path: str) -> str:
    """Ask the instance metadata service (version 2); empty when it does not answer, or knows nothing of a path."""
    from urllib.request import ProxyHandler, Request, build_opener

    # The service is on this machine or one hop away: never ask it through a proxy.
    base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _METADATA).rstrip("/")
    opener = build_opener(ProxyHandler({}))
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    with suppress(OSError, ValueError):
        with opener.open(Request(f"{base}/latest/api/token", method="PUT", headers=lifetime), timeout=2) as answer:  # noqa: S310
            token = answer.read(200).decode()
        header = {"X-aws-ec2-metadata-token": token}
        with opener.open(Request(f"{base}/latest/meta-data/{path}", headers=header), timeout=2) as answer:  # noqa: S310
            return str(answer.read(4096).decode().strip())
    return ""


def tell(text: str) -> None:
    """Write a line to the console, where it can be read after the machine is gone."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"mayfly agent: {text}\n")
        sys.stdout.flush()


def power_off() -> None:
    """Turn the machine off, which terminates the instance."""
    try:
        subprocess.call(["shutdown", "-h", "now"])
    except OSError as error:
        tell(f"cannot turn the machine off: {error}")
