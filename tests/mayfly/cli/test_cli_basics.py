"""The command line as a person meets it: sentences for errors, exit codes as documented, help for everything."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
import sqlalchemy as sa

from mayfly.cli.commands import cli
from mayfly.cli.context import Context, Home
from mayfly.cli.main import run
from mayfly.cli.mishaps import explain, explain_database, told
from state.database import sqlite_url
from state.errors import EnvironmentMissingError, StateError, UsageError

PROJECT = Path(__file__).parents[3]
DEPLOYMENT = 'name: trial\naccount: "123456789012"\nregion: us-east-1\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mayfly.yaml").write_text(DEPLOYMENT)
    return tmp_path


def test_outside_of_a_project_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["check"]) == UsageError.exit_code
    said = capsys.readouterr().err
    assert "holds no mayfly.yaml" in said
    assert "--project" in said
    assert "Traceback" not in said


def test_the_project_is_found_from_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = project / "blueprints" / "pca"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Context().project == project
    assert Context().home.folder == project / ".mayfly" / "main"


def test_check_of_a_good_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--project", str(project), "check"]) == 0
    assert "0 analyses and 0 groups: nothing is wrong." in capsys.readouterr().out


def test_check_names_the_place_of_every_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "mayfly.yaml").write_text(DEPLOYMENT + "regoin: eu-west-1\n")
    (project / "users").mkdir()
    (project / "users" / "lab.yaml").write_text("id: lab\n")

    assert run(["--project", str(project), "check", "--json"]) == 3
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert {error["file"] for error in errors} == {"mayfly.yaml", "users/lab.yaml"}
    assert next(e for e in errors if e["file"] == "mayfly.yaml")["line"] == 4

    assert run(["--project", str(project), "check"]) == 3
    assert "mayfly.yaml:4" in capsys.readouterr().out


def test_compiling_twice_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--project", str(project), "compile", "--json"]
    assert run(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert "base/main.tf" in first["written"]
    assert first["roots"] == ["base"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["written"] == []


def test_a_root_that_is_not_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--project", str(project), "plan", "analyses/nope"]) == UsageError.exit_code
    assert "There are: base." in capsys.readouterr().err


def test_jobs_before_anything_ran(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--project", str(project), "jobs"]) == StateError.exit_code
    assert "Start with `mayfly up`" in capsys.readouterr().err


def test_a_misspelt_command_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jbos"]) == UsageError.exit_code
    assert "jbos" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_system_refuses_becomes_a_sentence(number: int) -> None:
    error = explain(OSError(number, os.strerror(number), "/data/file"))
    assert error is not None
    assert str(error).startswith("/data/file: ")


def test_what_only_a_bug_can_cause_stays_a_traceback() -> None:
    assert explain(OSError(errno.EBADF, "bad file descriptor")) is None


def test_a_ledger_that_is_none_is_named_in_a_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = project / ".mayfly" / "main" / "ledger.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"no database " * 1000)
    assert run(["--project", str(project), "jobs"]) == StateError.exit_code
    said = capsys.readouterr().err
    assert f"The ledger {ledger} cannot be used: file is not a database." in said
    assert "--home" in said
    assert "Traceback" not in said


def refused(words: str) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("INSERT …", {}, sqlite3.OperationalError(words))


def test_a_full_disk_below_the_ledger_is_called_that(tmp_path: Path) -> None:
    error = explain_database(refused("database or disk is full"), sqlite_url(tmp_path / "ledger.db"))
    assert isinstance(error, EnvironmentMissingError)
    assert str(error).startswith(f"{tmp_path}/ledger.db: the disk is full.")


def full(place: str | None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)


def test_a_home_that_is_full_is_named_when_nothing_else_is() -> None:
    with (
        pytest.raises(EnvironmentMissingError, match=r"^/proc: the disk is full"),
        told(lambda: Context(home_option=Path("/proc"))),
    ):
        raise full(None)
    with pytest.raises(OSError, match="/data"), told(lambda: Context(home_option=Path("/proc"))):
        raise full("/data")


def test_a_home_with_room_is_not_called_full(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), told(lambda: Context(home_option=tmp_path)):
        raise full(None)


def test_what_else_a_database_refuses_is_told_without_the_password() -> None:
    error = explain_database(refused("connection refused\n  Is it running?"), "postgresql://me:secret@db/mayfly")
    assert isinstance(error, StateError)
    assert "The ledger postgresql://me:***@db/mayfly cannot be used: connection refused." in str(error)


def test_a_wrong_query_stays_a_traceback() -> None:
    wrong = sa.exc.ProgrammingError("SELEKT", {}, sqlite3.ProgrammingError("syntax"))
    assert explain_database(wrong, "sqlite://") is None


def test_ctrl_c_while_the_commands_are_imported_is_no_traceback(tmp_path: Path) -> None:
    """A library that takes long to import stands for all of them."""
    (tmp_path / "sqlalchemy.py").write_text("import signal; print('importing', flush=True); signal.pause()")
    process = subprocess.Popen(
        [Path(sys.executable).parent / "mayfly", "check"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "Stopped.\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m mayfly.cli.main --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_is_held_by_one(tmp_path: Path) -> None:
    home = Home(folder=tmp_path / "home")
    assert not home.is_locked()
    with home.locked():
        assert home.is_locked()
        with pytest.raises(StateError, match=f"in use by process {os.getpid()}"), home.locked():
            pass
    assert not home.is_locked()


def every_command() -> list[click.Command]:
    found, waiting = [], [cli]
    while waiting:
        command = waiting.pop()
        found.append(command)
        if isinstance(command, click.Group):
            waiting += command.commands.values()  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("command", every_command(), ids=lambda c: c.name)
def test_every_json_option_says_the_same(command: click.Command) -> None:
    for parameter in command.params:
        if "--json" in parameter.opts:
            assert isinstance(parameter, click.Option)
            assert parameter.help == "Print JSON for programs."
