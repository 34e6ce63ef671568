"""What operators are given fits what there is: alerts read figures that exist, units start commands that exist."""

from __future__ import annotations

import configparser
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mayfly.cli.commands import cli
from mayfly.cli.context import Context
from runner.metrics import render
from state.database import sqlite_url
from state.figures import read_figures
from state.lease import Leases
from state.ledger import open_ledger

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
UNITS = sorted(DEPLOY.glob("*.service"))


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_runbook_and_reads_figures_that_exist(tmp_path: Path) -> None:
    engine = open_ledger(sqlite_url(tmp_path / "ledger.db")).engine
    Leases(engine).beat("w", NOW)
    figures = set(re.findall(r"^(mayfly_\w+)", render(read_figures(engine, NOW), []), re.MULTILINE))
    engine.dispose()
    runbooks = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in alerts()] == runbooks
    for rule in alerts():
        assert set(re.findall(r"\bmayfly_\w+", rule["expr"])) <= figures, rule


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_a_unit_starts_a_command_that_exists_and_comes_back(unit: Path) -> None:
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds capitals
    found.read(unit)
    service = found["Service"]
    words = service["ExecStart"].split()
    assert words[0].endswith("/mayfly")
    assert words[-1] in cli.commands
    assert service["Restart"] == "always"
    assert service["User"] not in {"", "root"}
    assert service["NoNewPrivileges"] == "yes"


def test_a_worker_has_the_time_that_terraform_needs_to_stop() -> None:
    text = (DEPLOY / "mayfly-worker@.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) >= 300  # runner.terraform.Terraform's grace


def test_the_container_copies_what_is_there() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert {"state", "compiler", "runner", "mayfly", "modules"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert "--require-hashes" in text
    assert re.search(r"^USER mayfly$", text, re.MULTILINE)


@pytest.mark.parametrize("page", ["deploy/Containerfile", "docs/operators.md"])
def test_a_container_may_write_where_the_platform_writes(page: str) -> None:
    text = (ROOT / page).read_text().replace("\\\n#", "").replace("\\\n", "")
    line = next(line for line in text.splitlines() if "podman run" in line)
    mounts = [words.split(":") for words in re.findall(r"-v (\S+)", line)]
    writable = [Path(one[1]) for one in mounts if one[-1] != "ro"]
    home = Path(re.findall(r'"--home", "([^"]+)"', (DEPLOY / "Containerfile").read_text())[0])
    cache = Context(project_option=ROOT).terraform_cache.relative_to(ROOT)
    for place in (home, Path("/project") / cache):
        assert any(place.is_relative_to(one) for one in writable), place
