"""The agent on every Python that an instance may have, each with the libraries that are meant for it."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import os
import pkgutil
import re
import signal
import subprocess
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import runner.iae
import state.errors
from runner.agent_build import AgentArchive, build_agent, collect
from runner.agent_libraries import NAMES, OLD_LIBRARIES, collect_libraries
from runner.iae.libraries import CERTIFICATES, DATA, MODERN, OLD_SET, choose_libraries, data_files
from state.errors import EnvironmentMissingError
from tests.fakes.agent import BUCKET, ROOT
from tests.runner.agent_site import BARE, REPORT, STATUS, open_site
from tests.runner.pythons import find_python

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, pathlib, sys
m = json.load(open(sys.argv[1]))
print(pathlib.Path(m["inputs"][0]).read_text())
(pathlib.Path(m["results"]) / "big.bin").write_bytes(bytes(range(256)) * (33 * 4096))
"""
BIG = bytes(range(256)) * (33 * 4096)
"""More than goes up in one piece."""

needs_old_libraries = pytest.mark.skipif(
    not OLD_LIBRARIES.is_dir(), reason=f"{OLD_LIBRARIES} is missing: set-up could not fetch it"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> AgentArchive:
    return build_agent(tmp_path_factory.mktemp("agents"))


def a_python(number: str) -> Path:
    found = find_python(number)
    if found is None:
        pytest.skip(f"no Python {number} in pyenv's folder or on PATH")
    return found


@needs_old_libraries
@pytest.mark.parametrize("number", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_it_runs_a_task_on_a_bare_python(number: str, archive: AgentArchive, tmp_path: Path) -> None:
    with open_site(tmp_path, archive, a_python(number)) as site:
        with site.start(SCRIPT, result_limit_bytes=10**8) as agent:
            console, _ = agent.communicate(timeout=120)
        assert agent.returncode == 0, console
        assert site.is_off
        report = site.read(REPORT)
        assert (report["status"], report["reason"]) == ("SUCCESS", "")
        assert report["python"].startswith(f"{number}.")
        assert site.read(STATUS)["stdout"] == {"1": "1 2 3"}
        assert [(one["path"], one["size"], one["sha256"]) for one in report["outputs"]] == [
            ("big.bin", len(BIG), hashlib.sha256(BIG).hexdigest())
        ]
        key = f"{ROOT}process_results/big.bin"
        stored = site.s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert stored["ContentLength"] == len(BIG)
    assert re.fullmatch(r'"[0-9a-f]{32}-3"', stored["ETag"]), "it went up in three parts"
    assert "Warning" not in console


@needs_old_libraries
@pytest.mark.parametrize("number", ["3.8", "3.9"])
def test_it_stops_in_an_orderly_way_on_an_old_python(number: str, archive: AgentArchive, tmp_path: Path) -> None:
    with open_site(tmp_path, archive, a_python(number)) as site:
        with site.start("import time\nprint('on')\ntime.sleep(60)\n") as agent:
            patience = time.monotonic() + 30
            while time.monotonic() < patience and not _said_something(site.s3):
                assert agent.poll() is None
            agent.send_signal(signal.SIGTERM)
            console, _ = agent.communicate(timeout=30)
        assert site.read(REPORT)["ending"] == "stopped", console
        assert site.is_off


@needs_old_libraries
def test_a_program_that_is_not_there_is_said_on_an_old_python(archive: AgentArchive, tmp_path: Path) -> None:
    with open_site(tmp_path, archive, a_python("3.8")) as site:
        with site.start(SCRIPT, command=["/nowhere/program"]) as agent:
            agent.communicate(timeout=60)
        report = site.read(REPORT)
    assert report["ending"] == "environment_missing"
    assert "/nowhere/program" in report["reason"]


@needs_old_libraries
@pytest.mark.parametrize("number", ["3.8", "3.9"])
def test_each_python_imports_its_own_set(number: str, archive: AgentArchive) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from runner.iae.libraries import choose_libraries\nchoose_libraries(sys.path)\n"
        "import botocore, dateutil, urllib3\nprint(botocore.__version__, urllib3.__version__, dateutil.__file__)\n"
    )
    done = subprocess.run(
        [a_python(number), "-I", "-S", "-c", code, archive.path], capture_output=True, text=True, check=True
    )
    old_botocore, old_urllib3, shared = done.stdout.split()
    assert (old_botocore, old_urllib3) == ("1.37.38", "1.26.20")
    assert shared == f"{archive.path}/dateutil/__init__.py", "what is the same for all Pythons travels once"


@needs_old_libraries
@pytest.mark.parametrize("number", ["3.8", "3.13"])
def test_every_python_unpacks_the_authorities_it_trusts(number: str, archive: AgentArchive, tmp_path: Path) -> None:
    code = (
        "import pathlib, ssl, sys; sys.path.insert(0, sys.argv[1])\n"
        "import runner.iae\nfrom runner.iae.machine import unpack_data\n"
        "folder = unpack_data(pathlib.Path(sys.argv[2]))\n"
        "print(ssl.create_default_context(cafile=str(folder / 'cacert.pem')).cert_store_stats()['x509_ca'])\n"
    )
    done = subprocess.run(
        [a_python(number), "-I", "-S", "-c", code, archive.path, tmp_path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50


@needs_old_libraries
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("number", ["3.8", "3.9", "3.13"])
def test_the_analysis_becomes_an_ordinary_user(number: str, archive: AgentArchive) -> None:
    child = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), oct(os.umask(0)))"
    code = (
        "import os, subprocess, sys; sys.path.insert(0, sys.argv[1]); os.umask(0o077); os.setgroups([0, 4])\n"
        "from runner.iae.user import User, start_as\nuser = User(uid=60550, gid=60551, name='mayfly')\n"
        f"subprocess.run(['/usr/bin/env', 'python3', '-c', {child!r}], check=True, **start_as(user))\n"
        f"subprocess.run(['/usr/bin/env', 'python3', '-c', {child!r}], check=True, **start_as(None))\n"
    )
    done = subprocess.run(
        [a_python(number), "-I", "-S", "-c", code, archive.path],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.splitlines() == [
        "(60550, 60550, 60550) (60551, 60551, 60551) [] 0o22",
        "(0, 0, 0) (0, 0, 0) [0, 4] 0o22",
    ], done.stderr


@pytest.mark.parametrize("number", ["3.6", "3.7"])
def test_an_older_python_says_so_and_turns_the_machine_off(number: str, archive: AgentArchive, tmp_path: Path) -> None:
    with open_site(tmp_path, archive, a_python(number)) as site:
        with site.start("") as agent:
            console, _ = agent.communicate(timeout=30)
        assert agent.returncode == 1
        assert console == f"mayfly agent: Python 3.8 or newer is needed, and python3 of this image is {number}\n"
        assert site.is_off


def test_without_the_older_set_there_is_an_agent_for_newer_pythons(tmp_path: Path) -> None:
    archive = build_agent(tmp_path / "agents", old=tmp_path / "nowhere")
    with zipfile.ZipFile(archive.path) as file:
        assert not [name for name in file.namelist() if name.startswith(OLD_SET)]
    (tmp_path / "new").mkdir()
    with open_site(tmp_path / "new", archive, BARE) as site:
        with site.start(SCRIPT, result_limit_bytes=10**8) as agent:
            console, _ = agent.communicate(timeout=60)
        assert agent.returncode == 0, console


def test_without_the_older_set_an_old_python_says_the_way_out(tmp_path: Path) -> None:
    archive = build_agent(tmp_path / "agents", old=tmp_path / "nowhere")
    with open_site(tmp_path, archive, a_python("3.8")) as site:
        with site.start("") as agent:
            console, _ = agent.communicate(timeout=30)
        assert site.is_off
    assert console.startswith("mayfly agent: Python 3.10 or newer is needed, and python3 of this image is 3.8; ")
    assert "`make setup-old`" in console


def test_an_older_set_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    with pytest.raises(EnvironmentMissingError, match=r"botocore is not installed in .*/half.*make setup"):
        list(collect_libraries(tmp_path / "half"))


def test_a_modern_python_never_sees_the_older_set() -> None:
    path = ["agent.pyz", "/usr/lib/python3.10"]
    assert choose_libraries(path, MODERN)
    assert path == ["agent.pyz", "/usr/lib/python3.10"]
    assert not choose_libraries(path, (3, 9))  # there is no such file, so no library in it


def test_each_set_reads_its_own_data_and_all_trust_todays_authorities() -> None:
    names = [f"{DATA}{CERTIFICATES}", f"{DATA}endpoints.json", f"{OLD_SET}/{DATA}s3/model.json", "runner/iae/s3.py"]
    certificates = {f"{DATA}{CERTIFICATES}": CERTIFICATES}
    assert data_files(names, (3, 12)) == certificates | {f"{DATA}endpoints.json": "endpoints.json"}
    assert data_files(names, (3, 8)) == certificates | {f"{OLD_SET}/{DATA}s3/model.json": "s3/model.json"}


@needs_old_libraries
def test_the_older_set_costs_little() -> None:
    found = collect()
    old = {name: content for name, content in found.items() if name.startswith(f"{OLD_SET}/")}
    assert {f"{OLD_SET}/botocore/session.py", f"{OLD_SET}/{DATA}endpoints.json"} <= old.keys()
    assert f"{OLD_SET}/{DATA}{CERTIFICATES}" not in old
    assert not [name for name in old if name.startswith((f"{OLD_SET}/six", f"{OLD_SET}/dateutil"))]
    assert sum(map(len, old.values())) < 2_500_000
    assert not [name for name in found if ".." in name or "bin/" in name], "programs"


def test_all_that_travels_is_python_3_8() -> None:
    found = {name: content for name, content in collect().items() if name.endswith(".py")}
    mine = [name for name in found if name.startswith(("runner/", "state/", f"{OLD_SET}/", "__main__"))]
    assert len(mine) > 20
    for name in mine:
        ast.parse(found[name], name, feature_version=(3, 8))
    ast.parse(found["__main__.py"], "__main__.py", feature_version=(3, 6))


def test_the_bootstraps_own_python_is_python_3_8() -> None:
    text = (PROJECT / "compiler" / "templates" / "bootstrap.sh").read_text()
    programs = re.findall(r"(?ms)<<'PYTHON'\n(.*?)^PYTHON$", text)
    assert programs
    for program in programs:
        ast.parse(program, feature_version=(3, 8))


def test_values_that_travel_need_no_keyword_only_fields() -> None:
    """On 3.8 and 3.9 a field without a default cannot follow one that has one."""
    modules = [state.errors, *(importlib.import_module(f"runner.iae.{one.name}") for one in _modules())]
    values = {one for module in modules for one in vars(module).values() if dataclasses.is_dataclass(one)}
    assert len(values) > 15
    for value in values:
        defaults = [
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            for field in dataclasses.fields(value)
            if field.init
        ]
        assert defaults == sorted(defaults), value


def test_the_older_set_is_locked_and_stands_beside_todays() -> None:
    lock = (PROJECT / "locks" / "agent.txt").read_text()
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==([^ ]+) ", lock))
    assert set(pinned) == set(NAMES)
    assert pinned["botocore"] == "1.37.38"
    for shared in ("python-dateutil", "six"):
        assert pinned[shared] == version(shared), "the agent would carry it twice"


def _modules() -> list[pkgutil.ModuleInfo]:
    return [one for one in pkgutil.iter_modules(runner.iae.__path__) if one.name != "__main__"]


def _said_something(s3: object) -> bool:
    try:
        return b'"on"' in s3.get_object(Bucket=BUCKET, Key=STATUS)["Body"].read()  # type: ignore[attr-defined]
    except s3.exceptions.NoSuchKey:  # type: ignore[attr-defined]
        return False
