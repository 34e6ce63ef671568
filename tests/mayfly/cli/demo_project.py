"""The repository's own project in a folder of its own, for tests that run `mayfly demo` for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from state.database import sqlite_url
from state.ledger import open_ledger
from state.record import JobRecord

REPOSITORY = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
LEFT = "job resources left: 0"


class Project:
    """Deployed by the first demo, warm for the others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / ".mayfly" / "demo"
        shutil.copy(REPOSITORY / "mayfly.yaml", folder)
        for name in ("users", "blueprints"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, command: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **more}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def demo(self, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(BIN / "mayfly"), "demo", *options], **more)

    def begin(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `mayfly` as a terminal does: in a process group that gets a Ctrl-C as a whole."""
        return subprocess.Popen(
            [BIN / "mayfly", *arguments],
            cwd=self.folder,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def demo_until(self, pattern: str, act: Callable[[int], object], *arguments: str) -> tuple[int, str]:
        """Run a demo, act on its process group when it prints a line, and return how it ended."""
        said, done = [], False
        with self.begin(*arguments) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if not done and re.search(pattern, line):
                    act(process.pid)
                    done = True
        assert done, "".join(said)
        return process.returncode, "".join(said)

    def processes(self) -> list[str]:
        """Every process that has to do with this project."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in words or str(self.folder) in (process.info["cwd"] or ""):
                found.append(words)
        return found

    def results(self, said: str) -> Path:
        match = re.search(r"files +\d+ in (.*)", said)
        assert match is not None, said
        return self.folder / match[1]

    def records(self) -> list[JobRecord]:
        return open_ledger(sqlite_url(self.home / "ledger.db")).jobs()


def path_without(folder: Path, *programs: str) -> str:
    """Return a PATH, made in a folder, on which all programs are but some."""
    folder.mkdir()
    for place in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in place.glob("*"):
            if program.name not in programs and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


def press(group: int) -> None:
    """Press Ctrl-C."""
    os.killpg(group, signal.SIGINT)
