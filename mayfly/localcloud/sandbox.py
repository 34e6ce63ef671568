"""Finds out which sandbox works on this machine, by really running an instance in it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.localcloud.world import UNSAFE, WAY_OUT, Guest, Kind, base_python, command, environment, furnish

__all__ = ["UNSAFE", "WAY_OUT", "Kind", "Probe", "find_sandbox", "try_sandboxes"]
_PROBE_SECONDS = 20.0
_PROBE = b"#!/bin/sh\npython3 -c 'import json' && [ ! -e /etc/shadow ] && echo ready\nshutdown -h now\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found out about this machine.

    Attributes:
        kind: the first sandbox that really ran.
        problems: why those before it did not, by name.
    """

    kind: Kind
    problems: dict[str, str]

    @property
    def works(self) -> bool:
        """Whether instances can be kept apart from this machine."""
        return self.kind is not Kind.NONE

    @property
    def found(self) -> str:
        """What there is, in words."""
        tried = "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())
        return (self.kind.value if self.works else "no sandbox works") + (f" ({tried})" if tried else "")

    @property
    def way_out(self) -> str:
        """What to do when there is none."""
        return "" if self.works else WAY_OUT


def find_sandbox() -> Probe:
    """Find out how instances would be kept apart on this machine, by really running one."""
    with tempfile.TemporaryDirectory(prefix="mayfly-") as folder:
        endpoint = Path(folder, "endpoint")
        endpoint.touch()
        return asyncio.run(try_sandboxes(Path(folder, "probe"), endpoint=endpoint))


async def try_sandboxes(folder: Path, *, endpoint: Path) -> Probe:
    """Try the sandboxes in order of preference by really running an instance; `folder` is used and removed."""
    problems: dict[str, str] = {}
    for kind, program in ((Kind.BUBBLEWRAP, "bwrap"), (Kind.UNSHARE, "unshare")):
        problem = "not installed" if shutil.which(program) is None else await _try(kind, folder, endpoint)
        shutil.rmtree(folder, ignore_errors=True)
        if not problem:
            return Probe(kind=kind, problems=problems)
        problems[kind.value] = problem
    return Probe(kind=Kind.NONE, problems=problems)


async def _try(kind: Kind, folder: Path, endpoint: Path) -> str:
    """Run an instance that shuts itself down at once; return what went wrong, empty when nothing did."""
    guest = Guest(folder=folder, hostname="probe", port=80, endpoint=endpoint, image=None, python=base_python(None))
    try:
        furnish(guest, _PROBE)
        guest.metadata_socket.touch()
        process = await asyncio.create_subprocess_exec(
            *command(kind, guest),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(guest, region="", extra={}),
            start_new_session=True,
        )
    except OSError as error:
        return str(error)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            printed, _ = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return f"it did not answer within {_PROBE_SECONDS:.0f} s"
    words = printed.decode("utf-8", "replace").strip()
    if "ready" in words:
        return ""
    return words.splitlines()[-1] if words else f"it ended with status {process.returncode}"
