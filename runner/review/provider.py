"""One provider process that several Terraform commands use one after the other.

Each Terraform starts the provider anew, hashes 700 MB and builds 1,500 schemas: half of what planning a small root
costs. Terraform lets a provider that runs already be attached, meant for people who debug one. Two commands must not
use it at the same time with different settings, and an interrupt of one reaches all: so there is one host for each
lane, for plans only, and never for an apply.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from runner import tether
from state.errors import TerraformError

SAID: Final = re.compile(r"TF_REATTACH_PROVIDERS='(\{.*\})'")
START_S: Final = 60.0
END_S: Final = 5.0


@contextmanager
def provider_host(program: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a provider for as long as the block lasts; give what Terraform must know to attach to it.

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
            yield _attach(process.stdout)
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


def _attach(said: IO[bytes]) -> str:
    """Read what the provider says until it tells how to attach."""
    text = b""
    while select.select([said], [], [], START_S)[0]:
        piece = os.read(said.fileno(), 65536)
        text += piece
        found = SAID.search(text.decode(errors="replace"))
        if found:
            with suppress(ValueError):
                json.loads(found[1])
                return found[1]
        if not piece:
            break
    raise TerraformError("the AWS provider did not start by itself", command="plan")
