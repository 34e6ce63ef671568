"""Renaming and removing an analysis on the embedded cloud, by the real Terraform: data stays where it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.load import load_platform
from compiler.model import Platform, Retired
from compiler.platform import render_platform, roots
from compiler.tree import write_tree
from runner.provisioner import ApplySummary, PlanSummary
from runner.retired import find_retired
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from state.backend import LocalBackend
from state.errors import StateError
from tests.compiler.projects import MINIMAL, Project
from tests.mayfly.localcloud.rig import Clients, started

pytestmark = [pytest.mark.slow, pytest.mark.terraform, pytest.mark.cloud]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    project: Project
    build: Path
    backend: LocalBackend
    terraform: Terraform

    def platform(self) -> Platform:
        described = load_platform(self.project.folder)
        return replace(described, retired=find_retired(described, self.backend, build=self.build))

    def generate(self) -> Platform:
        platform = self.platform()
        write_tree(self.build, render_platform(platform))
        return platform

    def plan(self, root: str) -> PlanSummary:
        self.terraform.init(self.build / root, self.backend.settings(root))
        return self.terraform.plan(self.build / root)

    def apply(self, root: str) -> ApplySummary:
        self.terraform.init(self.build / root, self.backend.settings(root))
        return self.terraform.apply(self.build / root)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with started(tmp_path_factory.mktemp("cloud")) as (_, found):
        yield found


@pytest.fixture
def site(project: Project, clients: Clients, tmp_path: Path) -> Site:
    toolchain = find_toolchain(tmp_path / "terraform", os.environ)
    return Site(
        project=project,
        build=tmp_path / "build",
        backend=LocalBackend(folder=tmp_path / "state"),
        terraform=Terraform(toolchain, clients.settings.environment()),
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(folder=tmp_path / "project")
    made.write("mayfly.yaml", 'name: moving\naccount: "123456789012"\nregion: us-east-1\n')
    made.add_blueprint("first", MINIMAL.replace("tiny", "first"))
    made.add_blueprint("second", MINIMAL.replace("tiny", "second") + "purge: true\n")
    made.write("users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [first, second]\n")
    return made


def holds(clients: Clients, bucket: str) -> bool:
    if bucket not in {one["Name"] for one in clients.s3.list_buckets()["Buckets"]}:
        return False
    return bool(clients.s3.get_object(Bucket=bucket, Key="lab1/results/r")["Body"].read() == b"years of work")


def test_a_rename_changes_nothing_and_a_removal_keeps_the_data(site: Site, clients: Clients) -> None:
    platform = site.generate()
    assert roots(platform) == ("base", "analyses/first", "analyses/second", "groups/lab1")
    with ThreadPoolExecutor() as threads:  # most of the time the provider waits
        done = list(threads.map(site.apply, ("analyses/first", "analyses/second", "groups/lab1")))
    assert all(one.add for one in done)
    for bucket in ("moving-first", "moving-second"):
        clients.s3.put_object(Bucket=bucket, Key="lab1/results/r", Body=b"years of work")

    # renamed twice: what is in the cloud keeps its first name
    for before, now in (("first", "better"), ("better", "best")):
        shutil.move(site.project.folder / "blueprints" / before, site.project.folder / "blueprints" / now)
        site.project.add_blueprint(now, MINIMAL.replace("tiny", now) + "renamed_from: first\n")
        site.project.write("users/lab1.yaml", f"id: lab1\ntitle: Lab One\nanalyses: [{now}, second]\n")
        platform = site.generate()
        assert roots(platform) == ("base", "analyses/first", "analyses/second", "groups/lab1")
        assert platform.bucket(now) == "moving-first"
    with ThreadPoolExecutor() as threads:
        assert all(one.is_empty for one in threads.map(site.plan, ("analyses/first", "groups/lab1")))

    # removed: one analysis keeps its data, the other said that it may go, and the group loses its roles
    shutil.rmtree(site.project.folder / "blueprints")
    site.project.add_blueprint("third", MINIMAL.replace("tiny", "third"))
    (site.project.folder / "users/lab1.yaml").unlink()
    platform = site.generate()
    assert platform.retired == (
        Retired(root="analyses/first", purge=False),
        Retired(root="analyses/second", purge=True),
        Retired(root="groups/lab1", purge=False),
    )
    assert "its bucket stays, with all data" in platform.retired[0].story
    assert "its bucket goes, WITH ALL DATA" in platform.retired[1].story
    with ThreadPoolExecutor() as threads:
        kept, purged, left = threads.map(site.apply, ("analyses/first", "analyses/second", "groups/lab1"))
    assert (kept.destroy, kept.add, kept.change) == (0, 0, 0)
    assert purged.destroy > 0
    assert left.destroy > 0
    assert holds(clients, "moving-first")
    assert not holds(clients, "moving-second")
    versioning = clients.s3.get_bucket_versioning(Bucket="moving-first")
    assert versioning["Status"] == "Enabled"
    assert not any(one["RoleName"].startswith("moving-") for one in clients.iam.list_roles()["Roles"])

    # let go of: nothing is left to say
    platform = site.generate()
    assert platform.retired == ()
    assert not (site.build / "analyses/first/main.tf").exists()


def test_a_state_that_cannot_be_read_is_told(site: Site) -> None:
    broken = site.backend.folder / "analyses/gone.tfstate"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    with pytest.raises(StateError, match=r"gone\.tfstate is no Terraform state"):
        site.platform()
    broken.write_text("")
    assert site.platform().retired == ()
