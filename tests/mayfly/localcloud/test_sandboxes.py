"""Choosing a sandbox, and doing without one when that was asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mayfly.localcloud import find_sandbox
from mayfly.localcloud.world import Kind, interpreter_folders
from runner.bundled import BUNDLED
from tests.machine import a_long_time, processes_with
from tests.mayfly.localcloud.rig import describe, launch, make_image, printed, started, until


def linked(folder: Path, *programs: str) -> str:
    """Return a PATH that has these programs only."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        if found:
            (folder / program).symlink_to(found)
    return str(folder)


@pytest.mark.skipif(not shutil.which("bwrap"), reason="no bubblewrap here")
def test_bubblewrap_is_preferred() -> None:
    found = find_sandbox()
    assert (found.kind, found.works, found.way_out) == (Kind.BUBBLEWRAP, True, "")


@pytest.mark.skipif(not shutil.which("unshare"), reason="no unshare here")
def test_unshare_is_next_and_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", linked(tmp_path / "bin", "unshare"))
    found = find_sandbox()
    assert (found.kind, found.found) == (Kind.UNSHARE, "unshare (bubblewrap: not installed)")


def test_a_sandbox_that_fails_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that forbids user namespaces: the program is there and refuses."""
    path = tmp_path / "bin"
    path.mkdir()
    for program in ("bwrap", "unshare"):
        (path / program).write_text('#!/bin/sh\necho "$0: setting up uid map: Permission denied"\nexit 1\n')
        (path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(path))
    found = find_sandbox()
    assert not found.works
    assert found.problems["bubblewrap"].endswith("Permission denied")
    assert "Install bubblewrap" in found.way_out


def test_an_interpreter_is_mounted_where_it_is_and_where_it_is_said_to_be(tmp_path: Path) -> None:
    real = tmp_path / "pythons" / "3.11.7"
    (real / "bin").mkdir(parents=True)
    (real / "lib" / "python3.11").mkdir(parents=True)
    (real / "bin" / "python3.11").touch()
    (tmp_path / "pythons" / "3.11").symlink_to(real)
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    said = tmp_path / "pythons" / "3.11" / "bin"
    (environment / "bin" / "python").symlink_to(said / "python3.11")
    (environment / "pyvenv.cfg").write_text(f"home = {said}\nversion = 3.11.7\n")
    assert interpreter_folders([environment / "bin" / "python"]) == [said.parent, real]


def test_an_interpreter_in_usr_needs_no_mount() -> None:
    assert interpreter_folders([Path("/usr/bin/python3")]) == [] or not Path("/usr/bin/python3").exists()


@pytest.mark.cloud
def test_without_a_sandbox_only_what_comes_with_mayfly_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", linked(tmp_path / "bin", "bash", "sh", "env", "true", "basename", "sleep"))
    for digest in (BUNDLED["pca"], "f" * 64):
        (tmp_path / "images" / digest).mkdir(parents=True)
        (tmp_path / "images" / digest / "manifest.json").write_text("{}")
    with started(tmp_path) as (cloud, clients):
        assert cloud.sandbox == "none"
        assert set(cloud.sandbox_problems) == {"bubblewrap", "unshare"}
        for image in (make_image(clients, "plain"), make_image(clients, "own", "f" * 64)):
            instance = launch(clients, image, "echo never")
            until(lambda instance=instance: describe(clients, instance)["State"]["Name"] == "terminated")
            assert "no sandbox works" in describe(clients, instance)["StateReason"]["Message"]
        instance = launch(clients, make_image(clients, "pca", BUNDLED["pca"]), f"echo up; sleep {a_long_time()}")
        printed(clients, instance, "up")


@pytest.mark.cloud
def test_without_a_sandbox_a_trusted_instance_runs_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = ("bash", "sh", "env", "sleep", "basename", "date")
    monkeypatch.setenv("PATH", linked(tmp_path / "bin", *programs))
    monkeypatch.setenv("MAYFLY_UNSAFE_NO_SANDBOX", "1")
    code = "import os, urllib.request as u; e = os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT']; "
    code += "h = {'X-aws-ec2-metadata-token-ttl-seconds': '60'}; "
    code += "print(len(u.urlopen(u.Request(e + '/latest/api/token', method='PUT', headers=h)).read()), 'token')"
    with started(tmp_path) as (cloud, clients):
        image, nap = make_image(clients, "plain"), a_long_time()
        instance = launch(clients, image, f'sleep {nap} & python3 -c "{code}"; echo up; shutdown -h now; sleep {nap}')
        assert "43 token" in printed(clients, instance, "up")
        until(lambda: not (cloud.home / "instances" / instance).exists())
        other = launch(clients, image, f"sleep {nap} & echo up; sleep {nap}")
        printed(clients, other, "up")
        clients.ec2.terminate_instances(InstanceIds=[other])
        assert not processes_with(nap)
