"""How an instance is kept apart from this machine: bubblewrap, else `unshare`, else (asked for) not at all.

Both sandboxes make the same world: /usr read-only, everything else private to the instance, no network but two
loopback addresses that lead to this server, no process of the machine in sight.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from compiler.recipe import IMAGE_ROOT

GUEST = Path(__file__).parent / "guest"
RUN = "/run/mayfly"
BIN = "/opt/mayfly/bin"
INIT = "/opt/mayfly/init.py"
SEARCH = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNSAFE = "MAYFLY_UNSAFE_NO_SANDBOX"
WAY_OUT = (
    "Install bubblewrap, or allow unprivileged user namespaces (on Ubuntu: "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0). "
    f"To run analyses that you trust without a sandbox, set {UNSAFE}=1."
)
_FROM_ETC = (
    "ssl",
    "ca-certificates",
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "fonts",
)


class Kind(StrEnum):
    """What keeps an instance apart."""

    BUBBLEWRAP = "bubblewrap"
    UNSHARE = "unshare"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One piece of an instance's file system.

    Attributes:
        kind: `ro-bind`, `ro-bind-try`, `bind`, `dir`, `tmpfs`, `proc`, `dev` or `symlink`; bubblewrap's words.
        source: path on this machine, or what a symlink says; empty for the rest.
        target: path inside.
    """

    kind: str
    source: str = ""
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What is inside one instance.

    Attributes:
        folder: its own folder on this machine, prepared by `furnish`.
        hostname: its name.
        port: the loopback port at which it finds AWS.
        endpoint: the unix socket that this port leads to.
        image: store entry of its environment, or None.
        python: interpreter that `python3` is inside.
        network: whether it has a network of its own; only a plain process has not.
    """

    folder: Path
    hostname: str
    port: int
    endpoint: Path
    image: Path | None
    python: Path
    network: bool = True

    @property
    def metadata_socket(self) -> Path:
        """Where its metadata service listens."""
        return self.folder / "metadata.sock"

    @property
    def user_data(self) -> Path:
        """The script that it runs."""
        return self.folder / "user-data"


def furnish(guest: Guest, user_data: bytes) -> None:
    """Make the folder of an instance: its disk, its user data, the programs that are ours.

    Raises:
        OSError: the disk is full.
    """
    for name in ("disk/tmp", "disk/var/tmp", "disk/var/log", "disk/root", "etc", "bin", "root", "run"):
        (guest.folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("disk/tmp", "disk/var/tmp"):
        (guest.folder / name).chmod(0o1777)
    guest.user_data.write_bytes(user_data)
    for name, content in {
        "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "group": "root:x:0:\nnogroup:x:65534:\n",
        "hosts": f"127.0.0.1 localhost {guest.hostname}\n",
        "hostname": f"{guest.hostname}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }.items():
        (guest.folder / "etc" / name).write_text(content, encoding="utf-8")
        (guest.folder / "etc" / name).chmod(0o644)
    for name in ("shutdown", "poweroff", "halt"):
        shutil.copyfile(GUEST / "shutdown.sh", guest.folder / "bin" / name)
        (guest.folder / "bin" / name).chmod(0o755)
    for name in ("python3", "python"):
        (guest.folder / "bin" / name).symlink_to(guest.python)
    for name in (".", "etc", "bin", "disk", "disk/var", "disk/var/log", "disk/root"):
        (guest.folder / name).chmod(0o755)


def mounts(guest: Guest) -> list[Mount]:
    """Return the file system of an instance, in the order to mount it."""
    folder = guest.folder
    found = [Mount(kind="ro-bind", source="/usr", target="/usr")]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if Path(name).is_symlink():
            found.append(Mount(kind="symlink", source=str(Path(name).readlink()), target=name))
        elif Path(name).is_dir():
            found.append(Mount(kind="ro-bind", source=name, target=name))
    found += [
        Mount(kind="proc", target="/proc"),
        Mount(kind="dev", target="/dev"),
        Mount(kind="tmpfs", target="/run"),
        Mount(kind="bind", source=str(folder / "disk/tmp"), target="/tmp"),  # noqa: S108 - the instance's own
        Mount(kind="bind", source=str(folder / "disk/var"), target="/var"),
        Mount(kind="bind", source=str(folder / "disk/root"), target="/root"),
        *(Mount(kind="dir", target=name) for name in ("/etc", "/opt", "/opt/mayfly")),
        *(Mount(kind="ro-bind", source=str(p), target=f"/etc/{p.name}") for p in sorted((folder / "etc").iterdir())),
        *(Mount(kind="ro-bind-try", source=f"/etc/{name}", target=f"/etc/{name}") for name in _FROM_ETC),
        Mount(kind="symlink", source="/proc/self/mounts", target="/etc/mtab"),
        Mount(kind="ro-bind", source=str(folder / "bin"), target=BIN),
        Mount(kind="ro-bind", source=str(GUEST / "init.py"), target=INIT),
        Mount(kind="ro-bind", source=str(guest.user_data), target=f"{RUN}/user-data"),
        Mount(kind="bind", source=str(guest.metadata_socket), target=f"{RUN}/metadata.sock"),
        Mount(kind="bind", source=str(guest.endpoint), target=f"{RUN}/aws.sock"),
    ]
    needed = [guest.python, Path(sys.executable)]
    if guest.image:
        found.append(Mount(kind="ro-bind", source=str(guest.image), target=IMAGE_ROOT))
        needed.append(guest.image / "venv/bin/python")
    found += [Mount(kind="ro-bind", source=str(p), target=str(p)) for p in interpreter_folders(needed)]
    return found


def interpreter_folders(pythons: Iterable[Path]) -> list[Path]:
    """Return the folders outside /usr that the interpreters behind these paths need, each at its own path.

    An environment's `python` is a link to an interpreter that may be anywhere (pyenv, uv, conda), itself often
    reached through links: both the path as written and the path it leads to must exist inside.
    """
    found: dict[Path, None] = {}
    for python in pythons:
        homes = [python.resolve().parent.parent]
        settings = python.parent.parent / "pyvenv.cfg"
        if settings.is_file():
            for line in settings.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                if name.strip() == "home":
                    homes.append(Path(value.strip()).parent)
        for home in homes:
            if not home.is_relative_to("/usr") and any((home / "lib").glob("python3*")):
                found[home] = None
    return sorted(p for p in found if not any(p != other and p.is_relative_to(other) for other in found))


def base_python(image: Path | None) -> Path:
    """Return the interpreter behind an environment, of the one this server runs on when it has none."""
    python = image / "venv/bin/python" if image else Path(sys.executable)
    if not python.exists():
        python = Path(sys.executable)
    return python.resolve()


def environment(guest: Guest, *, region: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an instance's first process."""
    return {
        "PATH": SEARCH if guest.network else f"{guest.folder}/bin:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "HOME": "/root" if guest.network else str(guest.folder / "disk/root"),
        "LANG": "C.UTF-8",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{guest.port}",
        **(
            {} if guest.network else {"MAYFLY_RUN": str(guest.folder / "run"), "TMPDIR": str(guest.folder / "disk/tmp")}
        ),
        **extra,
    }


def command(kind: Kind, guest: Guest) -> list[str]:
    """Return the command that becomes an instance."""
    python = str(base_python(None))
    plan = {
        "hostname": guest.hostname,
        "port": guest.port,
        "network": guest.network,
        "root": str(guest.folder / "root"),
        "run": RUN if guest.network else str(guest.folder / "run"),
        "user_data": f"{RUN}/user-data" if guest.network else str(guest.user_data),
        "mounts": [],
    }
    if kind is Kind.BUBBLEWRAP:
        plan["hostname"] = ""  # bubblewrap sets it, so that the first process need not have the power to
        return [*_bubblewrap(guest), python, "-I", "-S", INIT, json.dumps(plan)]
    if kind is Kind.UNSHARE:
        plan["mounts"] = [[m.kind, m.source, m.target] for m in mounts(guest)]
        own = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts"]
        command = [_found("unshare"), *own, "--kill-child=SIGKILL", "--"]
        return [*command, python, "-I", "-S", str(GUEST / "init.py"), json.dumps(plan)]
    return [python, "-I", "-S", str(GUEST / "init.py"), json.dumps(plan)]


def _bubblewrap(guest: Guest) -> list[str]:
    own = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    power = ["--uid", "0", "--gid", "0", "--cap-add", "CAP_NET_ADMIN", "--cap-add", "CAP_NET_BIND_SERVICE"]
    found = [_found("bwrap"), *own, *power, "--as-pid-1", "--die-with-parent", "--new-session", "--chdir", "/"]
    found += ["--hostname", guest.hostname]
    for mount in mounts(guest):
        found += [f"--{mount.kind}", *([mount.source] if mount.source else []), mount.target]
    return found


def _found(program: str) -> str:
    return shutil.which(program) or program
