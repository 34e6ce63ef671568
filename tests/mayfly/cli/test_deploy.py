"""Roots are applied in order, once, again when something changed, and never skipped because of a state file alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.deploy import Deploy, RootResult, fingerprint
from runner.provisioner import ApplySummary
from state.backend import LocalBackend
from state.errors import TerraformError
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import a_platform

ROOTS = ("base", "analyses/pca", "groups/lab1")


class Terraform:
    """Writes a state file where the backend says, and remembers who was applied when."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.broken: set[str] = set()
        self.stopped = threading.Event()
        self.slow = False
        self._states: dict[Path, Path] = {}

    def init(self, root: Path, backend: Mapping[str, str]) -> None:
        self._states[root] = Path(backend["path"])

    def apply(self, root: Path, **options: Any) -> ApplySummary:
        if root.name in self.broken:
            raise TerraformError("no such thing", command="apply")
        if self.slow:
            pause = threading.Event()
            while not options["stop"]():
                pause.wait(0.01)
            self.stopped.set()
            raise TerraformError("stopped", command="apply")
        self._states[root].parent.mkdir(parents=True, exist_ok=True)
        self._states[root].write_text("{}")
        self.applied.append(root.name)
        return ApplySummary(add=2, change=0, destroy=0, seconds=0.1)


def a_cloud(*buckets: str) -> FakeCloud:
    cloud = FakeCloud()
    cloud.make_queue("demo-events")
    for bucket in buckets:
        cloud.make_bucket(bucket)
    cloud.make_role("demo-group-lab1")
    return cloud


class Site:
    def __init__(self, folder: Path) -> None:
        self.build, self.state = folder / "build", folder / "state"
        for root in ROOTS:
            (self.build / root).mkdir(parents=True)
            (self.build / root / "main.tf").write_text(f"# {root}\n")
        self.terraform = Terraform()
        self.cloud = a_cloud("demo-platform", "demo-pca")

    @property
    def deploy(self) -> Deploy:
        return Deploy(
            platform=a_platform(),
            build=self.build,
            logs=self.build.parent / "logs",
            terraform=self.terraform,  # type: ignore[arg-type]
            backend=LocalBackend(folder=self.state),
            cloud=self.cloud,
        )

    def apply(self) -> dict[str, RootResult]:
        self.terraform.applied.clear()
        return {result.root: result for result in self.deploy.apply(ROOTS, lambda _: None)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_base_comes_first(site: Site) -> None:
    results = site.apply()
    assert site.terraform.applied[0] == "base"
    assert set(results) == set(ROOTS)
    assert results["base"].add == 2
    assert not any(result.unchanged for result in results.values())


def test_what_was_applied_is_not_applied_again(site: Site) -> None:
    site.apply()
    assert all(result.unchanged for result in site.apply().values())
    assert site.terraform.applied == []


def test_a_changed_root_alone_is_applied_again(site: Site) -> None:
    site.apply()
    (site.build / "analyses/pca/main.tf").write_text("# another\n")
    results = site.apply()
    assert site.terraform.applied == ["pca"]
    assert results["base"].unchanged


def test_a_lost_state_is_applied_again(site: Site) -> None:
    site.apply()
    (site.state / "base.tfstate").unlink()
    site.apply()
    assert site.terraform.applied == ["base"]


def test_what_the_cloud_has_lost_is_applied_again(site: Site) -> None:
    site.apply()
    site.cloud = a_cloud("demo-platform")
    site.apply()
    assert site.terraform.applied == ["pca"]


def test_a_group_is_there_when_its_role_is_whoever_asks(site: Site) -> None:
    assert site.deploy.exists("groups/lab1")
    assert not site.deploy.exists("groups/lab2")
    assert "assume_group" not in [name for name, _ in site.cloud.store.calls]


def test_a_root_that_nothing_describes_any_more_is_named(site: Site) -> None:
    site.apply()
    assert site.deploy.removed(ROOTS) == []
    assert site.deploy.removed(["base", "groups/lab1"]) == ["analyses/pca"]


def test_one_broken_root_does_not_keep_the_others_back(site: Site) -> None:
    site.terraform.broken = {"pca"}
    told: list[str] = []
    with pytest.raises(TerraformError, match="no such thing"):
        site.deploy.apply(ROOTS, lambda result: told.append(result.root))
    assert told == ["base", "groups/lab1"]
    site.terraform.broken = set()
    site.apply()
    assert site.terraform.applied == ["pca"]


def test_a_broken_base_keeps_the_others_back(site: Site) -> None:
    site.terraform.broken = {"base"}
    with pytest.raises(TerraformError):
        site.apply()
    assert site.terraform.applied == []


def test_stopping_reaches_every_terraform(site: Site) -> None:
    site.terraform.slow = True
    stop = threading.Event()
    stop.set()
    with pytest.raises(TerraformError, match="stopped"):
        site.deploy.apply(ROOTS, lambda _: None, stop)
    assert site.terraform.stopped.is_set()


def test_what_terraform_keeps_beside_the_code_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("")
    before = fingerprint(tmp_path, {"path": "a"})
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "provider").write_text("x")
    (tmp_path / ".terraform.lock.hcl").write_text("x")
    assert fingerprint(tmp_path, {"path": "a"}) == before
    assert fingerprint(tmp_path, {"path": "b"}) != before
