"""Set-up fetches what the agent carries for instances with an older Python, or says what is missing without it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runner.agent_libraries import OLD_LIBRARIES

PROJECT = Path(__file__).parent.parent
LOCK = PROJECT / "locks" / "agent.txt"


def load(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", project / "locks" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def install() -> ModuleType:
    return load(PROJECT)


class Installer:
    """Writes where it is told to, and then refuses, if it shall."""

    name = "an installer"

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.told: list[str] = []

    def run(self, arguments: list[str], title: str) -> None:
        self.told = [*arguments, title]
        target = Path(arguments[arguments.index("--target") + 1])
        target.mkdir(parents=True)
        (target / "botocore.py").touch()
        if self.refusal is not None:
            raise self.refusal


def test_neither_an_earlier_lock_nor_half_of_this_one_is_kept(install: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "share" / "agent"
    folder.mkdir(parents=True)
    (folder / "of_an_earlier_lock.py").touch()
    with pytest.raises(install.InstallError, match="no network"):
        install.fetch_agent_libraries([Installer(install.InstallError("no network"))], folder)
    assert list(folder.parent.iterdir()) == []


def test_the_locked_set_for_python_3_8_goes_into_a_folder_of_its_own(install: ModuleType, tmp_path: Path) -> None:
    folder, installer = tmp_path / "agent", Installer()
    install.fetch_agent_libraries([installer], folder)
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]
    assert [path.name for path in folder.iterdir()] == ["botocore.py"]
    assert {"--require-hashes", "--no-deps", str(LOCK)} <= set(installer.told)
    assert installer.told[installer.told.index("--python-version") + 1] == "3.8"


def test_set_up_goes_on_without_and_says_the_way_out(
    install: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.try_agent_libraries(Installer(install.InstallError("set-up: no network")), tmp_path / "agent")
    said = capsys.readouterr().err.splitlines()
    assert "set-up: no network" in said
    assert "make setup-old" in said[-1]
    assert "3.10" in said[-1]


def test_what_is_fetched_is_what_the_agent_is_built_of(install: ModuleType) -> None:
    assert OLD_LIBRARIES.relative_to(sys.prefix) == install.AGENT.relative_to(install.VENV)


def test_another_lock_is_another_installation(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "locks", tmp_path / "locks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    install = load(tmp_path)
    before = install.fingerprint("runtime")
    (tmp_path / "locks" / "agent.txt").write_text("botocore==1.0.0\n")
    assert install.fingerprint("runtime") != before


def test_the_lock_is_exact_and_hashed() -> None:
    parts = re.split(r"(?m)^(?=[a-z])", LOCK.read_text())[1:]
    assert len(parts) > 4
    for part in parts:
        assert re.match(r"[a-z0-9-]+==[^ ]+ \\\n", part)
        assert part.count("--hash=sha256:") == 2, "a wheel and an archive of sources"
