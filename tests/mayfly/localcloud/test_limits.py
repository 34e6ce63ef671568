"""How much of this machine an instance may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.localcloud.limits import ControlGroups, find_control_groups, limits_of, remove_groups

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "machine", "cpus", "gib"),
    [
        ("m5.large", 16, 2, 8),
        ("m5.large", 1, 1, 8),
        ("m5.16xlarge", 4, 4, 19.2),
        ("t3.small", 2, 2, 2),
        ("x9.unknown", 16, 2, 4),
    ],
)
def test_an_instance_has_what_its_type_has_as_far_as_the_machine_has_it(
    name: str, machine: int, cpus: int, gib: float
) -> None:
    found = limits_of(name, cpus=tuple(range(machine)), memory=24 * GIB, turn=0)
    assert (len(found.cpus), found.memory) == (cpus, int(gib * GIB))


def test_small_instances_spread_over_the_machine() -> None:
    found = [limits_of("m5.large", cpus=(0, 1, 2, 3, 4), memory=GIB, turn=turn).cpus for turn in range(4)]
    assert found == [(0, 1), (2, 3), (0, 4), (1, 2)]


def test_version_1_groups_are_found_made_and_removed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:memory:/box\n4:cpu,cpuacct:/\n3:pids:/gone\n1:name=systemd:/\n")
    for folder in ("memory/box", "cpu,cpuacct", "pids"):
        (tmp_path / "fs" / folder).mkdir(parents=True)
    groups = find_control_groups(tmp_path / "fs", own)
    assert {k: str(v.relative_to(tmp_path / "fs")) for k, v in groups.parents.items()} == {
        "memory": "memory/box",
        "cpu": "cpu,cpuacct",
        "pids": "pids",
    }
    assert groups.limits_memory
    house = tmp_path / "fs/cpu,cpuacct/mayfly-1"
    house.mkdir()
    (house / "cpu.shares").touch()
    made = groups.make("mayfly-1", "i-1", limits_of("m5.large", cpus=(0, 1), memory=24 * GIB, turn=0))
    assert [one.relative_to(tmp_path / "fs").parts[-2:] for one in made] == [("mayfly-1", "i-1")] * 3
    assert int((house / "cpu.shares").read_text()) < 1024 / 2  # all instances together: less than half of the cloud
    (house / "cpu.shares").unlink()  # which the kernel does with its group
    groups.sweep("mayfly-1")
    assert remove_groups(made)
    assert not house.exists()


def unified(folder: Path, controllers: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "cgroup.subtree_control").write_text(controllers)
    return folder


def test_version_2_groups_are_made_where_memory_can_be_limited(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user/shell\n")
    unified(tmp_path / "fs/user", "cpu memory pids")
    unified(tmp_path / "fs/user/shell", "memory")
    groups = find_control_groups(tmp_path / "fs", own)
    assert groups.parents == {"unified": tmp_path / "fs/user/shell"}
    house = tmp_path / "fs/user/shell/mayfly-1"
    made = house / "i-1"
    made.mkdir(parents=True)
    (house / "cpu.weight").touch()
    (house / "cgroup.subtree_control").touch()
    for name in ("memory.max", "cpu.max", "pids.max"):
        (made / name).touch()
    groups.make("mayfly-1", "i-1", limits_of("m5.large", cpus=(0, 1), memory=24 * GIB, turn=0))
    assert (house / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert int((house / "cpu.weight").read_text()) < 100 / 2
    assert (made / "memory.max").read_text() == str(8 * GIB)
    assert (made / "cpu.max").read_text() == "200000 100000"


def test_a_machine_without_control_groups_has_none(tmp_path: Path) -> None:
    assert find_control_groups(tmp_path, tmp_path / "missing") == ControlGroups()
    assert not find_control_groups(tmp_path, tmp_path / "missing").limits_memory
