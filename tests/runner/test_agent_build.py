from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.agent_build import AgentArchive, build_agent, collect, pack
from runner.iae.main import main
from state.errors import EnvironmentMissingError
from tests.runner.agent_site import REPORT, STATUS, Site, open_site


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> AgentArchive:
    return build_agent(tmp_path_factory.mktemp("agents"))


@pytest.fixture
def site(tmp_path: Path, archive: AgentArchive) -> Iterator[Site]:
    with open_site(tmp_path, archive) as site:
        yield site


def test_the_same_inputs_give_the_same_bytes_in_any_process(archive: AgentArchive, tmp_path: Path) -> None:
    # Other modules loaded, another hash seed: neither may show.
    code = (
        "import sys, decimal, sqlite3, jinja2\nfrom pathlib import Path\n"
        "from runner.agent_build import build_agent\nprint(build_agent(Path(sys.argv[1])).sha256)"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)}
    again = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert again.stdout.strip() == archive.sha256


def test_it_is_built_once(archive: AgentArchive) -> None:
    before = archive.path.stat().st_mtime_ns
    assert build_agent(archive.path.parent) == archive
    assert archive.path.stat().st_mtime_ns == before
    assert len(list(archive.path.parent.iterdir())) == 1


def test_any_change_of_its_code_makes_another_agent() -> None:
    small = {"__main__.py": b"print(1)\n"}
    assert pack(small) == pack(dict(small))
    assert pack(small) != pack({"__main__.py": b"print(2)\n"})


def test_it_carries_what_it_needs_and_not_much_more(archive: AgentArchive) -> None:
    with zipfile.ZipFile(archive.path) as file:
        names = set(file.namelist())
    assert {"__main__.py", "runner/iae/main.py", "runner/iae/main.pyc", "state/errors.py", "data/cacert.pem"} <= names
    assert not [name for name in names if name.startswith(("boto3/", "moto/", "compiler/", "runner/cloud"))]
    assert archive.size < 12_000_000
    assert "data/s3/2006-03-01/service-2.json" in collect()


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentMissingError, match="the agent cannot be built in"):
        build_agent(tmp_path / "file" / "agents")


def test_it_runs_a_task_on_a_bare_python_and_turns_the_machine_off(site: Site) -> None:
    script = (
        "import json, sys\nm = json.load(open(sys.argv[1]))\nopen(m['results'] + '/x', 'w').write('7')\nprint('hi')\n"
    )
    with site.start(script) as agent:
        console, _ = agent.communicate(timeout=60)
    assert agent.returncode == 0, console
    assert site.is_off
    report = site.read(REPORT)
    assert (report["status"], report["reason"]) == ("SUCCESS", "")
    assert report["outputs"][0]["size"] == 1
    assert site.read(STATUS)["stdout"] == {"1": "hi"}
    assert "succeeded" in console
    started = datetime.fromisoformat(report["started"])
    assert datetime.now(UTC) - started < timedelta(minutes=1)


def test_a_machine_that_is_told_to_stop_reports_and_turns_off(site: Site) -> None:
    with site.start("import time\nprint('on')\ntime.sleep(60)\n") as agent:
        patience = time.monotonic() + 30
        while time.monotonic() < patience and not _is_running(site):
            agent_ended = agent.poll()
            assert agent_ended is None
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=30)
    assert site.read(REPORT)["ending"] == "stopped"
    assert site.is_off


def test_a_manifest_that_cannot_be_read_still_turns_the_machine_off(site: Site) -> None:
    with site.start("", version=9) as agent:
        console, _ = agent.communicate(timeout=30)
    assert agent.returncode == 1
    assert "version 9" in console
    assert site.is_off


@pytest.mark.parametrize("arguments", [[], ["--help"], ["manifest.json"]])
def test_a_person_who_tries_the_agent_keeps_the_computer_on(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    off: list[str] = []
    assert main(arguments, switch_off=lambda: off.append("off")) == 2
    assert "usage: agent.pyz --manifest FILE" in capsys.readouterr().out
    assert off == []


def _is_running(site: Site) -> bool:
    try:
        return bool(site.read(STATUS)["stdout"])
    except site.s3.exceptions.NoSuchKey:
        return False
