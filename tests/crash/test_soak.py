from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.harness import ROOT
from tests.crash.soak import database_servers

COUNTED = """
def test_counts(record_property):
    record_property("counts", "SQLite: 7 jobs; 3 kills")
"""


def test_a_soak_without_postgres_is_no_soak_unless_that_was_meant() -> None:
    with pytest.raises(SystemExit, match="no PostgreSQL"), database_servers(None, sqlite_only=False):
        pass
    with database_servers(None, sqlite_only=True) as servers:
        assert servers == [None]


@pytest.mark.slow
def test_the_counts_of_a_crash_test_are_printed(tmp_path: Path) -> None:
    test = tmp_path / "test_counted.py"
    test.write_text(COUNTED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "tests.conftest",
        "--rootdir",
        tmp_path,
        test,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("SQLite: 7 jobs; 3 kills") == 1
