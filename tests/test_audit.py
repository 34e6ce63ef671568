"""Strangers look at what is generated, in every run of the tests: checkov, parliament, and what they accept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
SKIP = "import sys; sys.path.insert(0, '.ci'); import audit; sys.exit(audit.skip('no network', {'CI': sys.argv[1]}))"


@pytest.mark.slow
@pytest.mark.timeout(600)  # the first run installs checkov
def test_checkov_and_parliament_find_nothing_that_is_not_explained() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/audit.py"], cwd=PROJECT, capture_output=True, text=True, timeout=590, check=False
    )
    if done.returncode == 0 and "audit: SKIPPED" in done.stdout:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("audit: ok\n")


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_ci_is_not_green_when_nobody_looked(ci: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SKIP, ci], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert "audit: SKIPPED: checkov and parliament cannot be installed here (no network)" in done.stdout
