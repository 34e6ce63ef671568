"""Starts and stops an embedded cloud from another process of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mayfly.localcloud.home import Home, read_json
from runner.cloud_values import CloudSettings
from state.errors import EnvironmentMissingError, MayflyError, StateError

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
_LOOK_EVERY = 0.05


class LocalCloud:
    """A running embedded cloud that ends with this process, or when it is stopped.

    Attributes:
        home: its folder.
        settings: where it is and how to talk to it.
        sandbox: what keeps its instances apart: `bubblewrap`, `unshare` or `none`.
        sandbox_problems: why better sandboxes could not be used, by name.
    """

    def __init__(self, home: Path, process: subprocess.Popen[bytes], facts: dict[str, object]) -> None:
        """Hold a cloud that is ready; use `start`."""
        self.home = home
        self.settings = CloudSettings.from_file(Home(root=home).cloud_file)
        self.sandbox = str(facts["sandbox"])
        found = facts["sandbox_problems"]
        self.sandbox_problems = {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
        self._process = process

    @classmethod
    def start(cls, home: Path, images: Path, *, port: int = 0, account: str = "", region: str = "") -> Self:
        """Start the cloud of a folder and wait until it answers.

        Args:
            home: its folder; made when it is not there.
            images: the store of environments, shared by clouds.
            port: 0 for the port it had last, or any free one.
            account: 12 digits; empty for the usual one.
            region: empty for the usual one.

        Raises:
            StateError: another process runs this cloud.
            EnvironmentMissingError: it could not start; the message says why.
        """
        home = home.resolve()
        paths = Home(root=home)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-P",
            "-m",
            "mayfly.localcloud",
            "--home",
            str(home),
            "--images",
            str(images.resolve()),
        ]
        command += ["--port", str(port), "--lifeline"]
        command += ["--account", account] if account else []
        command += ["--region", region] if region else []
        paths.log_file.touch(mode=0o600)
        with paths.log_file.open("ab") as log:
            begins = log.tell()
            # The pipe is the lifeline: it closes when this process ends, however that happens, and the cloud stops.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, cwd=home
            )
        try:
            facts = _wait_until_ready(process, paths, begins)
        except BaseException:
            _end(process)
            raise
        return cls(home, process, facts)

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it: instances are killed, everything is written down. Stopping twice is fine."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _wait_until_ready(process: subprocess.Popen[bytes], paths: Home, begins: int) -> dict[str, object]:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        facts = read_json(paths.cloud_file)
        if facts.get("pid") == process.pid:
            return facts
        with suppress(subprocess.TimeoutExpired):
            raise _failure(process.wait(_LOOK_EVERY), paths, begins)
    raise EnvironmentMissingError(
        f"The embedded cloud was not ready after {READY_SECONDS:.0f} s. Its log, {paths.log_file}, may say why."
    )


def _failure(status: int, paths: Home, begins: int) -> MayflyError:
    """Return what a cloud that ended at once said about it."""
    with paths.log_file.open("rb") as log:
        log.seek(begins)
        said = log.read().decode("utf-8", "replace").strip().splitlines()
    if status == StateError.exit_code and said:
        return StateError(said[-1])
    if status == EnvironmentMissingError.exit_code and said:
        return EnvironmentMissingError(said[-1])
    last = json.dumps(said[-1]) if said else "nothing"
    return EnvironmentMissingError(
        f"The embedded cloud could not start (status {status}); its last words were {last}. The rest is in "
        f"{paths.log_file}."
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
