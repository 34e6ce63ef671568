"""Saved plans are applied in order, exactly, and again after a failure; what is stale is refused before anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.provisioner import ApplySummary
from runner.review.applying import Applying
from runner.review.destroying import Destroying, order
from runner.review.planning import Planned
from runner.review.saved import SavedPlans, fingerprint, load_plans, save_plans, state_identity
from state.backend import LocalBackend
from state.errors import StateError, TerraformError, UsageError

ROOTS = ("base", "analyses/pca", "groups/lab1")
CREATE = {"address": "a.b", "mode": "managed", "change": {"actions": ["create"]}}


class Terraform:
    """Applies plans by raising the serial of a state, and remembers what it was asked to do."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.applied: list[str] = []
        self.serials: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        self.rest: list[dict[str, Any]] = []
        self.overrides: dict[str, str] = {}

    def lock_file(self) -> str:
        return "lock"

    def link(self, root: Path) -> None:
        (root / ".terraform").mkdir(exist_ok=True)

    def init(self, root: Path, backend: Mapping[str, str]) -> None:
        modules = root / ".terraform" / "modules"
        modules.mkdir(parents=True, exist_ok=True)
        (modules / "modules.json").write_text("{}")
        config = {"backend": {"config": dict(backend)}}
        (root / ".terraform" / "terraform.tfstate").write_text(json.dumps(config))

    def pull_state(self, root: Path) -> str:
        serial = self.serials.get(root.name, 0)
        return json.dumps({"lineage": root.name, "serial": serial}) if serial else ""

    def plan(self, _root: Path, out: Path, **_options: object) -> None:
        out.write_text("rest")

    def show(self, _root: Path, plan: Path | None = None) -> dict[str, Any]:
        if plan is not None:
            return {"resource_changes": self.rest}
        bucket = {"type": "aws_s3_bucket", "mode": "managed", "name": "data", "values": {"force_destroy": False}}
        return {"values": {"root_module": {"child_modules": [{"resources": [bucket]}]}}}

    def apply(self, root: Path, plan: Path | None = None, **_options: object) -> ApplySummary:
        override = root / "module" / "mayfly_override.tf"
        if override.exists():
            self.overrides[root.name] = override.read_text()
        if root.name in self.broken:
            self.serials[root.name] = self.serials.get(root.name, 0) + 1
            raise TerraformError(self.broken[root.name], command="apply")
        self.applied.append(f"{root.name}:{plan.read_text() if plan else 'all'}")
        self.serials[root.name] = self.serials.get(root.name, 0) + 1
        return ApplySummary(add=1, change=0, destroy=0, seconds=0.1)

    def destroy(self, root: Path, **_options: object) -> ApplySummary:
        self.applied.append(f"-{root.name}")
        return ApplySummary(add=0, change=0, destroy=1, seconds=0.1)


class Site:
    def __init__(self, folder: Path) -> None:
        self.build, self.folder = folder / "build", folder / "plans"
        self.terraform = Terraform(folder / "cache")
        self.backend = LocalBackend(folder=folder / "state")
        self.told: list[tuple[str, bool]] = []
        for root in ROOTS:
            (self.build / root / "module").mkdir(parents=True)
            (self.build / root / "main.tf").write_text(f"# {root}\n")
        self.save()

    def save(self) -> SavedPlans:
        planned = []
        for root in ROOTS:
            file = self.folder / f"{root}.tfplan"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"plan of {root}")
            planned.append(Planned(root=root, raw={"resource_changes": [CREATE]}, file=file))
        codes = {root: fingerprint(self.build / root, self.backend.settings(root)) for root in ROOTS}
        states = {root: state_identity(self.terraform, self.build / root) for root in ROOTS}  # type: ignore[arg-type]
        return save_plans(self.folder, "demo", planned, codes, states)

    def apply(self, approved: str = "") -> None:
        saved = load_plans(self.folder, "demo", approved)
        one = Applying(
            terraform=self.terraform,  # type: ignore[arg-type]
            backend=self.backend,
            build=self.build,
            logs=self.folder / "logs",
        )
        self.told.clear()
        one.apply(saved, lambda root, done: self.told.append((root, done is None)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_roots_are_applied_in_order_and_once(site: Site) -> None:
    site.apply(load_plans(site.folder, "demo").approval)
    assert site.terraform.applied == ["base:plan of base", "pca:plan of analyses/pca", "lab1:plan of groups/lab1"]
    site.apply()
    assert len(site.terraform.applied) == 3
    assert site.told == [(root, True) for root in ROOTS]


def test_plans_that_were_not_approved_are_refused(site: Site) -> None:
    with pytest.raises(StateError, match="approved is sha256:0"):
        site.apply("sha256:0")
    (site.folder / "base.tfplan").write_text("another")
    with pytest.raises(StateError, match="not the plan that was saved"):
        site.apply()
    assert site.terraform.applied == []


def test_stale_plans_are_refused_before_anything(site: Site) -> None:
    site.terraform.serials["lab1"] = 7
    with pytest.raises(StateError, match="groups/lab1 are stale: their state"):
        site.apply()
    site.terraform.serials.clear()
    (site.build / "groups/lab1/main.tf").write_text("# changed\n")
    with pytest.raises(StateError, match="groups/lab1 are stale: the YAML"):
        site.apply()
    assert site.terraform.applied == []


def test_terraform_s_own_word_on_a_stale_plan_is_understood(site: Site) -> None:
    site.terraform.broken = {"base": "Saved plan is stale"}
    with pytest.raises(StateError, match="saved plan of base is stale"):
        site.apply()


def test_it_goes_on_where_it_stopped(site: Site) -> None:
    site.terraform.broken = {"pca": "no such thing"}
    with pytest.raises(TerraformError, match="goes on where it stopped"):
        site.apply()
    assert site.terraform.applied == ["base:plan of base", "lab1:plan of groups/lab1"]
    site.terraform.broken, site.terraform.rest = {}, [CREATE]
    site.apply()
    assert site.terraform.applied[2:] == ["pca:rest"]
    assert site.told == [("base", True), ("analyses/pca", False), ("groups/lab1", True)]


def test_what_is_left_must_be_within_what_was_approved(site: Site) -> None:
    site.terraform.broken = {"pca": "no such thing"}
    with pytest.raises(TerraformError):
        site.apply()
    site.terraform.broken = {}
    site.terraform.rest = [{"address": "a.other", "mode": "managed", "change": {"actions": ["delete"]}}]
    with pytest.raises(StateError, match=r"beyond what was approved \(a.other\)"):
        site.apply()


def test_a_broken_base_keeps_the_others_back(site: Site) -> None:
    site.terraform.broken = {"base": "no such thing"}
    with pytest.raises(TerraformError):
        site.apply()
    assert site.terraform.applied == []


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [("{", StateError, "damaged"), ('{"deployment": "other", "plans": []}', StateError, "of the deployment other")],
)
def test_a_wrong_folder_is_told(site: Site, text: str, error: type[Exception], words: str) -> None:
    (site.folder / "plans.json").write_text(text)
    with pytest.raises(error, match=words):
        site.apply()
    (site.folder / "plans.json").unlink()
    with pytest.raises(UsageError, match="holds no saved plans"):
        site.apply()


def test_a_root_without_changes_is_not_saved(site: Site) -> None:
    file = site.folder / "base.tfplan"
    saved = save_plans(site.folder, "demo", [Planned(root="base", raw={}, file=file)], {"base": ""}, {"base": ""})
    assert saved.plans == ()
    assert not file.exists()


class TestDestroy:
    def test_data_goes_only_when_asked(self) -> None:
        assert order(ROOTS, data=False) == ["groups/lab1", "base"]
        assert order(ROOTS, data=True) == ["groups/lab1", "analyses/pca", "base"]

    def test_buckets_are_emptied_and_generated_files_stay(self, site: Site, tmp_path: Path) -> None:
        site.terraform.serials = {"pca": 1}
        told: list[str] = []
        one = Destroying(
            terraform=site.terraform,  # type: ignore[arg-type]
            backend=site.backend,
            build=site.build,
            work=tmp_path / "work",
            logs=tmp_path / "logs",
        )
        one.destroy(["groups/lab1", "analyses/pca"], lambda root, done: told.append(f"{root} {done.destroy}"))
        assert told == ["groups/lab1 0", "analyses/pca 1"]
        assert site.terraform.applied == ["pca:all", "-pca"]
        assert "force_destroy = true" in site.terraform.overrides["pca"]
        assert list((site.build / "analyses/pca/module").iterdir()) == []


def test_what_others_keep_beside_the_code_is_no_code(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("a")
    before = fingerprint(tmp_path, {})
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform/providers.json").write_text("{}")
    (tmp_path / "analyses::pca-default.tfplan").write_text("the plan that Atlantis keeps")
    assert fingerprint(tmp_path, {}) == before
    (tmp_path / "more.tf").write_text("b")
    assert fingerprint(tmp_path, {}) != before
