from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import runner.iae
from runner.iae.ending import Ending, TaskError
from runner.iae.manifest import parse_manifest, read_manifest
from tests.fakes.agent import raw_manifest


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    return raw_manifest(tmp_path, ["venv/bin/python", "files/run.py"])


def test_everything_is_read(raw: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({**raw, "deadline": "2026-11-22T12:00:00Z"}))
    manifest = read_manifest(file)
    assert manifest.deadline == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert manifest.input.key == "lab/inputs/data.txt"
    assert not manifest.input.is_folder
    assert manifest.results.live.endswith("logs/live/0/")
    assert manifest.command == ("venv/bin/python", "files/run.py")


def test_a_deadline_without_a_zone_is_utc(raw: dict[str, Any]) -> None:
    assert parse_manifest({**raw, "deadline": "2026-11-22T12:00:00"}).deadline.tzinfo == UTC


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"command": "python run.py"}, "command is not a list"),
        ({"command": []}, "command is not a list"),
        ({"command": ["python", 3]}, "command is not a list"),
        ({"deadline": "tomorrow"}, "malformed"),
        ({"time_limit_s": "long"}, "malformed"),
        ({"results": {"bucket": "b"}}, "lacks 'folder'"),
        ({"parameters": None}, "malformed"),
    ],
)
def test_what_is_wrong_is_named(raw: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskError, match=words) as caught:
        parse_manifest({**raw, **change})
    assert caught.value.ending is Ending.INTERNAL


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_something_else_than_a_manifest_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(content)
    with pytest.raises(TaskError):
        read_manifest(file)


def test_a_command_finds_the_files_of_the_image_and_nothing_else(raw: dict[str, Any], tmp_path: Path) -> None:
    for name in ("venv/bin/python", "files/run.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    (tmp_path.parent / "outside").write_text("")
    command = ["venv/bin/python", "files/run.py", "-files/run.py", "../outside", "/bin/sh", "$(reboot)", ""]
    resolved = parse_manifest({**raw, "command": command}).resolve_command()
    assert resolved == [
        f"{tmp_path}/venv/bin/python",
        f"{tmp_path}/files/run.py",
        "-files/run.py",
        "../outside",
        "/bin/sh",
        "$(reboot)",
        "",
    ]


def test_the_environments_python_keeps_its_own_path(raw: dict[str, Any], tmp_path: Path) -> None:
    link = tmp_path / "venv/bin/python"
    link.parent.mkdir(parents=True)
    link.symlink_to("/bin/sh")
    assert parse_manifest(raw).resolve_command()[0] == str(link)


@pytest.mark.parametrize("path", sorted(Path(str(runner.iae.__file__)).parent.glob("*.py")), ids=lambda path: path.name)
def test_every_file_can_be_read_by_the_oldest_python(path: Path) -> None:
    oldest = (3, 6) if path.name == "__main__.py" else (3, 10)
    source = path.read_text()
    ast.parse(source, feature_version=oldest)
    newer = {"StrEnum", "file_digest", "datetime.UTC", "ExceptionGroup", "tomllib"}
    assert not [name for name in newer if name in source]
