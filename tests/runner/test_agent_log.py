from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from resource import RLIMIT_FSIZE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.iae.log import CHUNK, TAIL, LastLines, Splitter, TaskLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TaskLog]:
    log = TaskLog(tmp_path / "task.log", 1000)
    yield log
    log.close()


def drain(log: TaskLog) -> bytes:
    sent = b""
    while chunk := log.next_chunk():
        assert len(chunk) <= CHUNK
        sent += chunk
        log.mark_sent(len(chunk))
    return sent


def test_what_fits_is_kept_as_it_is(log: TaskLog) -> None:
    log.write(b"one\n")
    log.say("two")
    log.write(b"\xff three\n")
    log.finish()
    assert log.path.read_bytes() == b"one\n[mayfly] two\n\xff three\n"
    assert log.dropped == 0


def test_beyond_the_limit_it_counts_says_so_and_keeps_the_end(log: TaskLog) -> None:
    lines = b"".join(b"line %06d\n" % number for number in range(100_000))
    for start in range(0, len(lines), 65_536):
        log.write(lines[start : start + 65_536])
    early = drain(log)
    log.say("the agent can still speak")
    log.finish()
    whole = log.path.read_bytes()
    assert whole.startswith(lines[:1000])
    assert b"the log is full (1000 bytes)" in early
    assert whole.endswith(b"line 099999\n")
    assert len(whole) < 1000 + TAIL + 400
    assert f"{log.dropped} bytes are missing here".encode() in whole
    kept_end = whole[whole.index(b"follows\n") + 8 :]
    assert log.dropped == len(lines) - 1000 - len(kept_end)
    assert lines.endswith(kept_end)


def test_a_little_too_much_loses_nothing(log: TaskLog) -> None:
    log.write(b"x" * 999 + b"\n")
    log.write(b"the last words\n")
    log.finish()
    assert log.dropped == 0
    assert log.path.read_bytes().endswith(b"the last words\n")


def test_the_live_chunks_are_a_prefix_of_the_log(log: TaskLog) -> None:
    log.limit = 10**6
    sent = b""
    for number in range(20):
        log.write(b"%d" % number * 20_000)
        chunk = log.next_chunk()
        if number % 3:  # every third time the store does not answer
            sent += chunk
            log.mark_sent(len(chunk))
    sent += drain(log)
    log.say("the end")
    log.finish()
    assert log.path.read_bytes() == sent + b"[mayfly] the end\n"


def test_last_lines_are_numbered() -> None:
    lines = LastLines(3)
    lines.feed(b"a\nb\n")
    lines.feed(b"c\nd\n")
    assert lines.numbered() == {"2": "b", "3": "c", "4": "d"}


def test_a_line_that_comes_in_pieces_is_one_line() -> None:
    lines = LastLines(3)
    for piece in (b"wor", b"king", b"...", b" done\nnext"):
        lines.feed(piece)
    assert lines.numbered() == {"1": "working... done", "2": "next"}


def test_of_a_progress_bar_the_last_state_counts() -> None:
    lines = LastLines(3)
    lines.feed(b"10 %\r50 %\r")
    lines.feed(b"90 %\r100 %\r")
    assert lines.texts() == ["100 %"]


def test_a_line_without_end_stays_short() -> None:
    lines = LastLines(2)
    for _ in range(100):
        lines.feed(b"x" * 10_000)
    assert len(lines.texts()) == 1
    assert len(lines.texts()[0]) == 500


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_the_splitter_keeps_every_byte_and_cuts_at_line_ends(pieces: list[bytes]) -> None:
    splitter = Splitter()
    parts = [splitter.feed(piece) for piece in pieces]
    assert all(part[-1:] in b"\r\n" for part in parts)
    assert b"".join([*parts, splitter.flush()]) == b"".join(pieces)


def test_the_splitter_does_not_hold_a_long_line_for_ever() -> None:
    splitter = Splitter()
    assert splitter.feed(b"x" * (Splitter.LONGEST + 1))


def test_a_full_disk_stops_nobody_who_writes() -> None:
    """The kernel has a file for this: every write to it finds no room."""
    full = TaskLog(Path("/dev/full"), 1000)
    full.write(b"an analysis speaks\n")
    full.say("and so does the agent")
    full.finish()
    full.close()
    assert full.disk_is_full
    assert full.dropped == len(b"an analysis speaks\n")


def test_a_disk_that_has_room_again_tears_no_hole_into_the_log(tmp_path: Path) -> None:
    limit, held = RLIMIT_FSIZE, signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(limit)
    log = TaskLog(tmp_path / "task.log", 1000)
    resource.setrlimit(limit, (6, before[1]))
    try:
        log.write(b"first\nsecond\n")
    finally:
        resource.setrlimit(limit, before)
        signal.signal(signal.SIGXFSZ, held)
    log.write(b"third\n")
    assert drain(log) == b"first\n"
    log.finish()
    log.close()
    assert log.path.read_bytes().endswith(b"the end of the output follows\nsecond\nthird\n")
    assert log.dropped == 0
