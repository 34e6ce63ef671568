"""A cloud that fails once at each call of the real processes, a Terraform that is killed with its lock held, and agents
that die wherever they can: every job ends, is told and is billed once, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from state.database import sqlite_url
from tests.crash.harness import Platform
from tests.crash.runs import harm_everywhere, missing_faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_platform_whose_every_call_fails_once_loses_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    platform = Platform(tmp_path, sqlite_url(tmp_path / "ledger.db"), workers=1, faults=1)
    try:
        harm_everywhere(platform, jobs=4, seconds=300)
        assert missing_faults(platform.faults) == []
        assert platform.counts.kills["worker"] == 0
    finally:
        record_property("counts", f"SQLite, one worker: {platform.counts}; {len(platform.faults)} faults")
        platform.close()
