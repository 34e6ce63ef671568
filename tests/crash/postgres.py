"""A PostgreSQL of one's own, on a free loopback port, for as long as a test run lasts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

import psycopg

from tests.machine import hold_port

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
UP_S = 30


def find_programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, the newest release's; None when this machine has none."""
    found = [
        path for pattern in PLACES for path in sorted(Path("/").glob(pattern.lstrip("/"))) if (path / "initdb").exists()
    ]
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


class Postgres:
    """One server with many databases. It refuses root, so root runs it as somebody else."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not pytest's own folder: only its owner may enter that, and root's server runs as another user.
        self.folder = Path(tempfile.mkdtemp(prefix="mayfly-postgres-"))
        self._user = self._choose_user()
        if self._user is not None:
            os.chown(self.folder, self._user, self._user)
        self._names = count(1)
        self._held = hold_port()  # also while it is being made, and while it is down: others look for free ports, too
        self.port: int = self._held.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "mayfly", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @staticmethod
    def _choose_user() -> int | None:
        if os.geteuid() != 0:
            return None
        known = {one.pw_name: one.pw_uid for one in pwd.getpwall()}
        return known.get("postgres", known.get("nobody", 65534))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            user=self._user,
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            # The machine does not lose its power in a test: what a killed server wrote is in the system's cache.
            "fsync": "off",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *words],
                cwd=self.folder,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + UP_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._address("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def crash(self) -> None:
        """Stop it at once, in the middle of whatever it does, and start it again."""
        self._end(signal.SIGQUIT)
        self.start()

    def stop(self) -> None:
        """Stop it for good and remove all it had."""
        self._end(signal.SIGQUIT)  # at once: nobody will read it again
        self._held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(UP_S)
            self._process = None

    def _address(self, database: str) -> str:
        return f"postgresql://mayfly@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its URL, as MAYFLY_DATABASE_URL would have it."""
        name = f"ledger{next(self._names)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]  # a name of our own
        return self._address(name)
