"""Files are there whole or not at all, and a lock is held by one process, for as long as it lives."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from state.errors import StateError
from state.files import hold, write_whole

HALF_A_CHARACTER = "\ud800"
HOLDER = """
import sys, signal
from pathlib import Path
from state.files import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def refuse(holder: str) -> None:
    raise StateError(f"held by {holder}")


def test_a_write_that_fails_leaves_the_old_content_and_no_draft(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", HALF_A_CHARACTER)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "old")
    with (tmp_path / "file").open() as reading:
        write_whole(tmp_path / "file", b"new\r\n")
        assert reading.read() == "old"
    assert (tmp_path / "file").read_bytes() == b"new\r\n"


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), "content")


@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_permissions_are_those_asked_for(tmp_path: Path, mode: int) -> None:
    write_whole(tmp_path / "file", "old", mode=mode)
    write_whole(tmp_path / "file", "new", mode=mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_who_holds_a_lock_is_told_to_the_next(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold(lock):
        assert lock.read_text() == str(os.getpid())
        with pytest.raises(StateError, match=f"held by {os.getpid()}"), hold(lock, refuse):
            raise AssertionError("two hold it")
        assert lock.read_text() == str(os.getpid())
    assert lock.read_text() == ""
    with hold(lock, refuse):
        pass


def test_the_next_may_wait(tmp_path: Path) -> None:
    waiting, got = threading.Event(), threading.Event()

    def wait() -> None:
        with hold(tmp_path / "lock", lambda _: waiting.set()):
            got.set()

    thread = threading.Thread(target=wait)
    with hold(tmp_path / "lock"):
        thread.start()
        assert waiting.wait(60)
        assert not got.is_set()
    thread.join(60)
    assert got.is_set()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match=f"held by {holder.pid}"), hold(tmp_path / "lock", refuse):
            raise AssertionError("two hold it")
        holder.kill()
        holder.wait()
        with hold(tmp_path / "lock", refuse):
            pass
