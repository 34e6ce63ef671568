from __future__ import annotations

import hashlib
import os
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from runner.iae.ending import Ending, TaskError
from runner.iae.halt import Halt
from runner.iae.results import check_size, gather, upload
from tests.fakes.agent import BUCKET, FakeStore, JumpingClock, denied, unreachable

PREFIX = "lab/results/job__b_1/process_results/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


def send(folder: Path, store: FakeStore) -> list[str]:
    clock = JumpingClock()
    halt = Halt(clock, clock.now() + timedelta(minutes=5), threading.Event())
    harvest = gather(folder, PREFIX)
    done = upload(
        harvest.files, BUCKET, PREFIX, store=store, halt=halt, on_trouble=lambda _: None, on_bytes=lambda _: None
    )
    return [f"{found.path} {found.size} {found.sha256}" for found in done]


def test_files_are_listed_with_their_checksums(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "b.csv").write_bytes(b"1,2\n")
    (folder / "deep/a ü.npy").write_bytes(b"")
    store = FakeStore()
    assert send(folder, store) == [
        f"b.csv 4 {hashlib.sha256(b'1,2' + bytes([10])).hexdigest()}",
        f"deep/a ü.npy 0 {hashlib.sha256(b'').hexdigest()}",
    ]
    assert store.objects == {f"{PREFIX}b.csv": b"1,2\n", f"{PREFIX}deep/a ü.npy": b""}
    assert store.types[f"{PREFIX}b.csv"] == "text/csv"


def test_what_is_not_a_plain_file_inside_is_refused_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = folder.parent / "secret"
    secret.write_text("key")
    (folder / "good").write_text("x")
    (folder / "inside").symlink_to("good")
    (folder / "outside").symlink_to(secret)
    (folder / "sneaky").symlink_to("../results/../secret")
    (folder / "up").symlink_to("..")
    (folder / "nothing").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "end.txt").write_text("fake")
    (folder / "line\nbreak").write_text("x")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as door:
        monkeypatch.chdir(folder)  # the name of a socket may not be long, and that of a folder is
        door.bind("door")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))).write_text("x")
    harvest = gather(folder, PREFIX)
    assert [found.path for found in harvest.files] == ["good", "inside"]
    refused = dict(entry.split(" (", 1) for entry in harvest.refused)
    assert set(refused) == {
        "outside", "sneaky", "up", "nothing", "loop", "end.txt", "line\nbreak", "pipe", "door", "\\udcff",
    }  # fmt: skip
    assert "out of the results folder" in refused["outside"] + refused["sneaky"]
    assert "not a plain file" in refused["pipe"]


def test_a_file_in_a_folder_may_be_called_end(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/end.txt").write_text("x")
    assert [found.path for found in gather(folder, PREFIX).files] == ["sub/end.txt"]


def test_a_key_that_s3_would_refuse_is_refused_here(folder: Path) -> None:
    deep = folder
    for _ in range(5):
        deep = deep / ("x" * 240)
        deep.mkdir()
    (deep / "file").write_text("x")
    assert "too long" in gather(folder, PREFIX).refused[0]


def test_too_much_is_refused_with_the_largest_file(folder: Path) -> None:
    (folder / "small").write_bytes(b"x" * 10)
    (folder / "large").write_bytes(b"x" * 100)
    with pytest.raises(TaskError, match=r"the largest file is large") as caught:
        check_size(gather(folder, PREFIX), 109)
    assert caught.value.ending is Ending.RESULTS_TOO_LARGE
    check_size(gather(folder, PREFIX), 110)


def test_an_upload_that_breaks_off_goes_on(folder: Path) -> None:
    for number in range(4):
        (folder / f"{number}").write_text(str(number))
    broken = {f"{PREFIX}1", f"{PREFIX}2"}
    store = FakeStore(refuse=lambda _, key: unreachable(key) if key in broken and not broken.remove(key) else None)  # type: ignore[func-returns-value]
    send(folder, store)
    assert len(store.objects) == 4
    assert store.written.count(f"{PREFIX}0") == 1


@pytest.mark.parametrize("error", [unreachable(), denied()])
def test_an_upload_that_cannot_be_is_said(folder: Path, error: Exception) -> None:
    (folder / "a").write_text("x")
    store = FakeStore(refuse=lambda *_: error)  # type: ignore[arg-type, return-value]
    with pytest.raises(TaskError, match="the results could not be uploaded") as caught:
        send(folder, store)
    assert caught.value.ending is Ending.UPLOAD_FAILED


def test_a_file_that_the_store_took_and_lost_is_sent_again_while_the_machine_lives(folder: Path) -> None:
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    store, lost = FakeStore(), [f"{PREFIX}a"]

    def lose(verb: str, _: str) -> None:
        if verb == "scan" and lost:
            store.objects[lost.pop()] = b"on"  # cut

    store.refuse = lose
    send(folder, store)
    assert store.objects == {f"{PREFIX}a": b"one", f"{PREFIX}b": b"two"}
    assert store.written.count(f"{PREFIX}b") == 1


def test_a_file_that_is_never_there_is_an_upload_that_failed(folder: Path) -> None:
    (folder / "a").write_text("one")
    store = FakeStore()
    store.refuse = lambda verb, _: store.objects.clear() if verb == "scan" else None
    with pytest.raises(TaskError, match="1 of 1 files could not be found again yet") as caught:
        send(folder, store)
    assert caught.value.ending is Ending.UPLOAD_FAILED
