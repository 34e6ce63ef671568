"""A folder that stands for an instance and its user data, which is run for real: a bash, with shims on its PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A folder that stands for an instance: its PATH knows a shutdown that only writes down that it was called.

    Its day is over as soon as a test says so, and its sleep is short.
    """

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "shutdown.log"

    def be_late(self) -> None:
        """Let the clock say that a day has passed; who looks at it is written down there."""
        (self.folder / "late").touch()

    def is_looked_at(self) -> bool:
        """Whether somebody has looked at the clock, and again after that, since it was late."""
        return (self.folder / "late").read_bytes().count(b"\n") >= 2

    def start(self, script: bytes, *, shutdown: str = "exit 0", python: bool = True) -> subprocess.Popen[str]:
        shims = self.folder / "bin"
        shims.mkdir()
        for name in ("shutdown", "poweroff"):
            shim = shims / name
            shim.write_text(
                f'#!/bin/bash\necho "{name} $*" >> "{self.log}"\n{shutdown if name == "shutdown" else "exit 0"}\n'
            )
            shim.chmod(0o755)
        clock = 'day=0; [ ! -e "{0}" ] || {{ day=86400; echo >> "{0}"; }}; echo $(($({1} "$@") + day))'
        for name, does in (
            ("date", clock.format(self.folder / "late", shutil.which("date"))),
            ("sleep", f"exec {shutil.which('sleep')} 0.1"),
        ):
            (shims / name).write_text(f"#!/bin/bash\n{does}\n")
            (shims / name).chmod(0o755)
        programs = {name: shutil.which(name) for name in ("bash", "mktemp")}
        for name, target in (programs | ({"python3": sys.executable} if python else {})).items():
            assert target, name
            (shims / name).symlink_to(target)
        path = self.folder / "user_data"
        path.write_bytes(script)
        # A PATH of shims only: whatever happens, the real machine is not shut down. The script appends /usr/sbin, where
        # a real shutdown may live; shims stand before it.
        return subprocess.Popen(
            ["/bin/bash", str(path)],
            env={"PATH": str(shims), "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def read_until(process: subprocess.Popen[str], ending: str) -> str:
    """Read what a script prints until a line ends in `ending`."""
    seen = ""
    assert process.stdout
    for line in process.stdout:
        seen += line
        if line.rstrip().endswith(ending):
            break
    return seen


def run(machine: Machine, script: bytes, **options: Any) -> str:
    process = machine.start(script, **options)
    try:
        return read_until(process, "shutting down")
    finally:
        process.wait(30)
        finish(process)


def finish(process: subprocess.Popen[str]) -> None:
    """End the script, and the deadman, which outlives it on purpose; they may have gone by themselves."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout
    process.stdout.close()
