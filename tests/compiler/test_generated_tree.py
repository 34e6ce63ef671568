"""Writing the generated tree: idempotent, old or new and never half, and strangers' files are safe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.tree import JOURNAL, MANIFEST, STAGE, Changes, compare_tree, write_tree
from state.errors import StateError

FIRST = {"base/main.tf": "one\n", "analyses/a/main.tf": "a\n", "analyses/a/module/x.tf": "x\n"}
SECOND = {"base/main.tf": "two\n", "analyses/b/main.tf": "b\n"}


def read(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".mayfly")
    }


def test_the_second_time_nothing_is_written(tmp_path: Path) -> None:
    assert write_tree(tmp_path, FIRST) == Changes(written=tuple(sorted(FIRST)), removed=(), unchanged=0)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tf")}
    again = write_tree(tmp_path, FIRST)
    assert not again
    assert again.unchanged == 3
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tf")} == times
    assert read(tmp_path) == FIRST


def test_only_what_changed_is_written_and_only_own_files_are_removed(tmp_path: Path) -> None:
    write_tree(tmp_path, FIRST)
    (tmp_path / "analyses/a/.terraform").mkdir()
    (tmp_path / "analyses/a/.terraform/provider").write_text("theirs")
    (tmp_path / "notes.txt").write_text("mine")
    changes = write_tree(tmp_path, SECOND)
    assert changes.written == ("analyses/b/main.tf", "base/main.tf")
    assert changes.removed == ("analyses/a/main.tf", "analyses/a/module/x.tf")
    assert read(tmp_path) == {**SECOND, "notes.txt": "mine", "analyses/a/.terraform/provider": "theirs"}
    assert not (tmp_path / "analyses/a/module").exists()


def test_an_edited_file_is_generated_again_and_a_removed_one_too(tmp_path: Path) -> None:
    write_tree(tmp_path, FIRST)
    (tmp_path / "base/main.tf").write_text("edited")
    (tmp_path / "analyses/a/main.tf").unlink()
    assert compare_tree(tmp_path, FIRST).written == ("analyses/a/main.tf", "base/main.tf")
    write_tree(tmp_path, FIRST)
    assert read(tmp_path) == FIRST


def test_comparing_touches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    assert compare_tree(folder, FIRST).written == tuple(sorted(FIRST))
    assert not folder.exists()
    write_tree(folder, FIRST)
    assert not compare_tree(folder, FIRST)
    assert compare_tree(folder, SECOND).removed == ("analyses/a/main.tf", "analyses/a/module/x.tf")


def test_a_strangers_file_in_the_way_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/main.tf").write_text("mine")
    with pytest.raises(StateError, match=r"base/main\.tf was not made by mayfly"):
        write_tree(tmp_path, FIRST)
    assert read(tmp_path) == {"base/main.tf": "mine"}


def test_a_file_that_already_says_the_same_is_taken_over(tmp_path: Path) -> None:
    """So a lost manifest does not stop the next run."""
    write_tree(tmp_path, FIRST)
    (tmp_path / MANIFEST).unlink()
    write_tree(tmp_path, FIRST)
    write_tree(tmp_path, SECOND)
    assert read(tmp_path) == SECOND


def test_nothing_is_written_through_links_or_outside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "build", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "base").symlink_to(outside)
    with pytest.raises(StateError, match="is a symbolic link"):
        write_tree(folder, FIRST)
    for path in ("../x", "/x", "a/../../x"):
        with pytest.raises(StateError, match="leads out of"):
            write_tree(folder, {path: "x"})
    assert list(outside.iterdir()) == []


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, FIRST)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(StateError, match="is damaged"):
        write_tree(tmp_path, FIRST)


KILL = """
import json, os, signal, sys
from pathlib import Path
from compiler.tree import write_tree
count = 0
def trace(event, args):
    global count
    if event in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}:
        count += 1
        if count == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
folder, files = Path(sys.argv[1]), json.loads(sys.argv[3])
sys.addaudithook(trace)
write_tree(folder, files)
"""


def test_a_kill_anywhere_leaves_the_old_tree_or_one_that_the_next_run_finishes(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    journalled = step = 0
    while True:
        step += 1
        folder = tmp_path / str(step)
        write_tree(folder, FIRST)
        done = subprocess.run(
            [sys.executable, "-c", KILL, str(folder), str(step), json.dumps(SECOND)], env=env, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        if (folder / JOURNAL).exists():
            journalled += 1
            assert compare_tree(folder, SECOND) or read_without_stage(folder) == SECOND
        elif (folder / STAGE).exists():
            assert read_without_stage(folder) in (FIRST, SECOND)
        write_tree(folder, SECOND)
        assert read(folder) == SECOND
        assert not (folder / STAGE).exists()
    assert step > 10
    assert journalled > 2


def read_without_stage(folder: Path) -> dict[str, str]:
    return {path: text for path, text in read(folder).items() if not path.startswith(STAGE)}
