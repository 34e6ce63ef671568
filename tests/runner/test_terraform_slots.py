"""Lanes: shared by threads and processes, one kept for destroys, given back by the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.slots import Slots, count_lanes
from state.errors import TerraformError

HOLD = "import sys\nfrom pathlib import Path\nfrom runner.slots import Slots\n"
HOLD += "with Slots(Path(sys.argv[1]), lanes=2).take() as lane:\n    print(lane, flush=True)\n    sys.stdin.read()\n"


def never() -> bool:
    return False


def test_a_machine_has_at_least_two_lanes() -> None:
    assert 2 <= count_lanes() <= 64


def test_lanes_run_out_for_applies_but_one_is_left_for_a_destroy(tmp_path: Path) -> None:
    slots = Slots(tmp_path, lanes=3)
    with slots.take() as first, slots.take() as second:
        assert {first, second} == {0, 1}
        with pytest.raises(TerraformError, match="stopped while waiting"), slots.take(stop=lambda: True):
            pass
        with slots.take(destroy=True) as kept:
            assert kept == 2


def test_who_waits_goes_on_when_a_lane_is_free(tmp_path: Path) -> None:
    slots = Slots(tmp_path, lanes=2)
    got = threading.Event()

    def wait_for_lane() -> None:
        with slots.take(stop=never):
            got.set()

    with slots.take():
        thread = threading.Thread(target=wait_for_lane)
        thread.start()
        assert not got.wait(0.4)
    assert got.wait(60)
    thread.join(60)


def test_another_process_counts_and_its_death_frees_the_lane(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "0"
        slots = Slots(tmp_path, lanes=2)
        with pytest.raises(TerraformError), slots.take(stop=lambda: True):
            pass
        other.kill()
        with slots.take() as lane:
            assert lane == 0


def test_a_failure_gives_the_lane_back(tmp_path: Path) -> None:
    slots = Slots(tmp_path, lanes=2)
    with pytest.raises(RuntimeError), slots.take():
        raise RuntimeError("apply failed")
    with slots.take() as lane:
        assert lane == 0
