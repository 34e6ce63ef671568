"""One provider process that several Terraform commands use one after the other.

Each Terraform starts the provider anew, hashes 700 MB and reads 1,500 descriptions: nearly all of what planning a small
root costs. Terraform lets a provider that runs already be attached, meant for people who debug one. Two commands must
not use it at the same time with different settings, and an interrupt of one reaches all: so there is one host for each
lane, for plans only, and never for an apply. Before it stands a relay that answers for its description.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from compiler.review.values import JSON
from runner import tether
from runner.review.proxy import Schema, relay
from runner.review.schema import trim
from state.errors import TerraformError
from state.files import write_whole

SAID: Final = re.compile(r"TF_REATTACH_PROVIDERS='(\{.*\})'")
START_S: Final = 60.0
END_S: Final = 5.0


class KeptSchema:
    """A provider's description of itself: asked of it once, kept on the disk, and cut down to some kinds."""

    def __init__(self, program: Path, folder: Path, kinds: Collection[str]) -> None:
        """Keep what `program` says in `folder`, and answer with `kinds` only."""
        known = program.stat()
        named = f"{program.resolve()} {known.st_size} {known.st_mtime_ns}"
        self._file = folder / hashlib.sha256(named.encode()).hexdigest()[:16]
        self._kinds, self._lock, self._answer = frozenset(kinds), threading.Lock(), b""

    def __call__(self, fetch: Callable[[bytes], bytes]) -> bytes:
        """Return the answer; `fetch` asks the provider itself."""
        with self._lock:
            if not self._answer:
                self._answer = self._read() or self._keep(fetch(b""))
            return self._answer

    def _read(self) -> bytes:
        try:
            return trim(self._file.read_bytes(), self._kinds)
        except (OSError, ValueError):  # not kept yet, or half of it: the provider knows it
            return b""

    def _keep(self, whole: bytes) -> bytes:
        with suppress(OSError):  # a full disk costs the next run a second
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, whole)
        return trim(whole, self._kinds)


@contextmanager
def provider_host(program: Path, environment: Mapping[str, str], schema: Schema) -> Iterator[str]:
    """Run a provider for as long as the block lasts; give what Terraform must know to attach to it.

    Args:
        program: the provider.
        environment: the whole environment that it gets.
        schema: answers for its description.

    Raises:
        TerraformError: it did not start, or did not say how it is reached.
    """
    with tempfile.TemporaryDirectory(prefix="mayfly-provider-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(program), "-debug"],
            cwd=folder,
            # Its socket goes into a folder that only this user can enter.
            env={**environment, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            assert process.stdout is not None  # noqa: S101 it was asked for
            said = _attach(process.stdout)
            with relay(_socket(said), Path(folder), schema) as address:
                for one in said.values():
                    one["Addr"]["String"] = address
                yield json.dumps(said)
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(OSError):
                if process.stdout is not None:
                    process.stdout.close()


def _socket(said: dict[str, JSON]) -> str:
    """Return the socket that the provider listens on."""
    addresses = {one["Addr"]["String"] for one in said.values() if one["Addr"]["Network"] == "unix"}
    if len(addresses) != 1:
        raise TerraformError(f"the AWS provider listens on {len(addresses)} sockets, and not on one", command="plan")
    return str(addresses.pop())


def _attach(said: IO[bytes]) -> dict[str, JSON]:
    """Read what the provider says until it tells how to attach: the description of its process by its name."""
    text = b""
    while select.select([said], [], [], START_S)[0]:
        piece = os.read(said.fileno(), 65536)
        text += piece
        found = SAID.search(text.decode(errors="replace"))
        if found:
            with suppress(ValueError):
                attach: dict[str, JSON] = json.loads(found[1])
                return attach
        if not piece:
            break
    raise TerraformError("the AWS provider did not start by itself", command="plan")
