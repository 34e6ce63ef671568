from __future__ import annotations

from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.model import Platform
from runner.live_platform import LOOK_S, LivePlatform
from state.errors import SourcesError

GOOD = "id: lab1\ntitle: One\n"


class Watch:
    """A project with one group, a timer, and a count of how often it was read."""

    def __init__(self, folder: Path) -> None:
        (folder / "users").mkdir()
        (folder / "mayfly.yaml").write_text('name: demo\naccount: "123456789012"\nregion: us-east-1\n')
        self.profile, self.now, self.reads = folder / "users" / "lab1.yaml", 0.0, 0
        self.profile.write_text(GOOD)
        self.live = LivePlatform(folder, self._load, timer=lambda: self.now)

    def _load(self, folder: Path) -> Platform:
        self.reads += 1
        return load_platform(folder)

    def title(self, *, later: float = LOOK_S) -> str:
        self.now += later
        return self.live().groups["lab1"].title


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    before = watch.live()
    assert watch.title() == "One"
    assert watch.live() is before
    watch.profile.write_text(GOOD.replace("One", "Two, renamed"))
    assert watch.title(later=LOOK_S / 2) == "One"  # nobody looks all the time
    assert watch.title() == "Two, renamed"
    assert watch.reads == 2


def test_while_a_file_is_wrong_the_last_good_one_stays_in_force(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.profile.write_text("id: lab1\ntitle: [broken\n")
    assert watch.title() == "One"
    assert watch.title() == "One"
    assert watch.reads == 2  # it is not read again and again
    watch.profile.write_text(GOOD.replace("One", "Mended"))
    assert watch.title() == "Mended"


def test_at_the_start_the_files_must_be_right(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.profile.write_text("id: lab1\n")
    with pytest.raises(SourcesError):
        LivePlatform(tmp_path, load_platform)
