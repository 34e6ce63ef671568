"""The fixture of a PostgreSQL; a folder of tests that wants it names it in its conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.postgres import Postgres, find_programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process; its tests share a process, see `xdist_group("postgres")`."""
    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine: install one (Debian: postgresql) to run this test")
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()
