from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from runner.iae.ending import Ending, TaskError
from runner.iae.halt import Halt
from runner.iae.manifest import Source
from runner.iae.store import Copy, OnBytes, Stored
from runner.iae.transfer import fetch
from tests.fakes.agent import BUCKET, FakeStore, JumpingClock, denied, etag, unreachable


class Fetcher:
    """Fetches into a folder, with ten minutes until the deadline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FakeStore()
        self.clock = JumpingClock()
        self.stop = threading.Event()
        self.troubles: list[str] = []
        self.received = 0

    def fetch(self, key: str, version: str = "") -> Path:
        halt = Halt(self.clock, self.clock.now() + timedelta(minutes=10), self.stop)
        source = Source(bucket=BUCKET, key=key, version=version)
        return fetch(
            source, self.folder, store=self.store, halt=halt, on_trouble=self.troubles.append, on_bytes=self._count
        )

    def refused(self, key: str, version: str = "") -> TaskError:
        with pytest.raises(TaskError) as caught:
            self.fetch(key, version)
        return caught.value

    def _count(self, size: int) -> None:
        self.received += size


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


def test_an_object(fetcher: Fetcher) -> None:
    fetcher.store.objects["lab/inputs/a b;$(x).npy"] = b"data"
    path = fetcher.fetch("lab/inputs/a b;$(x).npy", etag(b"data"))
    assert path == fetcher.folder / "a b;$(x).npy"
    assert path.read_bytes() == b"data"
    assert fetcher.received == 4


def test_a_folder_keeps_its_structure_and_skips_markers(fetcher: Fetcher) -> None:
    for name in ("", "x.npy", "deep/", "deep/er/y.npy"):
        fetcher.store.objects[f"lab/inputs/set/{name}"] = name.encode()
    path = fetcher.fetch("lab/inputs/set/")
    assert path == fetcher.folder / "set"
    assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()) == ["deep/er/y.npy", "x.npy"]


def test_version_ids_are_as_good_as_etags(fetcher: Fetcher) -> None:
    fetcher.store.objects["lab/inputs/a"] = b"data"
    assert fetcher.fetch("lab/inputs/a", "v1").exists()


def test_what_changed_since_the_submission_is_refused(fetcher: Fetcher) -> None:
    fetcher.store.objects["lab/inputs/a"] = b"new"
    error = fetcher.refused("lab/inputs/a", etag(b"old"))
    assert error.ending is Ending.BAD_INPUT
    assert "changed after the job was submitted" in str(error)


@pytest.mark.parametrize("key", ["lab/inputs/gone.npy", "lab/inputs/gone/"])
def test_what_is_missing_is_named(fetcher: Fetcher, key: str) -> None:
    error = fetcher.refused(key)
    assert error.ending is Ending.BAD_INPUT
    assert key in str(error)


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/../../../b", "a//b", "./a", "/etc/passwd", ".."])
def test_a_name_cannot_leave_its_folder(fetcher: Fetcher, name: str) -> None:
    fetcher.store.objects[f"lab/inputs/set/{name}"] = b"evil"
    error = fetcher.refused("lab/inputs/set/")
    assert error.ending is Ending.BAD_INPUT
    assert [path for path in fetcher.folder.rglob("*") if path.is_file()] == []


def test_a_dataset_called_dot_dot_is_refused(fetcher: Fetcher) -> None:
    fetcher.store.objects["lab/inputs/.."] = b"evil"
    assert fetcher.refused("lab/inputs/..").ending is Ending.BAD_INPUT


def test_a_file_that_is_also_a_folder_is_refused_in_words(fetcher: Fetcher) -> None:
    fetcher.store.objects.update({"lab/inputs/set/a": b"1", "lab/inputs/set/a/b": b"2"})
    error = fetcher.refused("lab/inputs/set/")
    assert error.ending is Ending.BAD_INPUT
    assert "cannot be files beside each other" in str(error)


def test_a_store_that_comes_back_is_waited_for(fetcher: Fetcher) -> None:
    fetcher.store.objects["lab/inputs/a"] = b"data"
    fetcher.store.refuse = lambda _, key: unreachable(key) if fetcher.clock.seconds < 120 else None
    assert fetcher.fetch("lab/inputs/a").read_bytes() == b"data"
    assert fetcher.clock.waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(fetcher.clock.waits) == 15.0
    assert len(fetcher.troubles) == len(fetcher.clock.waits)


def test_a_transfer_that_breaks_off_goes_on_with_what_is_missing(fetcher: Fetcher) -> None:
    fetcher.store.objects.update({f"lab/inputs/set/{n}": b"x" for n in range(5)})
    broken = {"lab/inputs/set/1", "lab/inputs/set/3"}

    def refuse(verb: str, key: str) -> Exception | None:
        return unreachable(key) if verb == "download" and key in broken and not broken.remove(key) else None

    fetcher.store.refuse = refuse  # type: ignore[assignment]
    path = fetcher.fetch("lab/inputs/set/")
    assert len(list(path.iterdir())) == 5
    assert fetcher.received == 5
    assert "2 of 5 files could not be read yet" in fetcher.troubles[0]


def test_a_store_that_never_answers_ends_at_the_deadline(fetcher: Fetcher) -> None:
    fetcher.store.refuse = lambda _, key: unreachable(key)
    error = fetcher.refused("lab/inputs/a")
    assert error.ending is Ending.DOWNLOAD_FAILED
    assert "nothing answers" in str(error)
    assert fetcher.clock.seconds == pytest.approx(600)


def test_a_refusal_is_not_repeated(fetcher: Fetcher) -> None:
    fetcher.store.refuse = lambda _, key: denied(key)
    error = fetcher.refused("lab/inputs/a")
    assert "not allowed to read lab/inputs/a" in str(error)
    assert fetcher.clock.waits == []


def test_a_machine_that_stops_ends_the_waiting(fetcher: Fetcher) -> None:
    fetcher.store.refuse = lambda _, key: (fetcher.stop.set(), unreachable(key))[1]
    assert fetcher.refused("lab/inputs/a").ending is Ending.STOPPED


def test_a_dataset_larger_than_the_disk_is_refused_before_it_is_fetched(fetcher: Fetcher) -> None:
    class Huge(FakeStore):
        def head(self, bucket: str, key: str) -> Stored:
            del bucket
            return Stored(key=key, size=10**18)

    fetcher.store = Huge()
    error = fetcher.refused("lab/inputs/a")
    assert "__dataset_size__" in str(error)
    assert fetcher.received == 0


@pytest.mark.parametrize(
    ("number", "ending"), [(errno.ENOSPC, Ending.BAD_INPUT), (errno.EROFS, Ending.DOWNLOAD_FAILED)]
)
def test_a_disk_that_fails_meanwhile(fetcher: Fetcher, number: int, ending: Ending) -> None:
    class Broken(FakeStore):
        def download(
            self, bucket: str, copies: Sequence[Copy], check: Callable[[], None], on_bytes: OnBytes
        ) -> list[Copy]:
            del bucket, copies, check, on_bytes
            raise OSError(number, "disk")

    fetcher.store = Broken(objects={"lab/inputs/a": b"x"})
    assert fetcher.refused("lab/inputs/a").ending is ending
