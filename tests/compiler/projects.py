"""Projects for tests: a folder with YAML files, and the means to change them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.load import Inspection, inspect_project
from state.errors import SourceError

REPOSITORY = Path(__file__).resolve().parents[2]

MINIMAL = """\
id: tiny
title: The smallest blueprint there is
stage: public
resources:
  - instance_type: t3.medium
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project folder that a test may write to."""

    folder: Path

    def write(self, path: str, text: str | bytes) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            target.write_bytes(text)
        else:
            target.write_text(textwrap.dedent(text), encoding="utf-8")
        return target

    def add_blueprint(self, name: str, text: str) -> None:
        """Write a blueprint with a recipe that is complete."""
        self.write(f"blueprints/{name}/blueprint.yaml", text)
        self.write(f"blueprints/{name}/environment/requirements.lock", "")
        self.write(f"blueprints/{name}/environment/run.py", "print('hello')\n")

    def inspect(self) -> Inspection:
        return inspect_project(self.folder)

    def errors(self) -> list[str]:
        return told(self.inspect().findings.errors)

    def warnings(self) -> list[str]:
        return told(self.inspect().findings.warnings)


def told(findings: Sequence[SourceError]) -> list[str]:
    """Return findings as a person reads them. Whatever a test breaks, each names a way out."""
    assert [str(one) for one in findings if not one.way_out] == []
    return [str(one) for one in findings]


def small_project(folder: Path) -> Project:
    """Make a project that is right: one deployment, one analysis, one group that opted in."""
    made = Project(folder=folder)
    made.write("mayfly.yaml", 'name: demo\naccount: "123456789012"\nregion: us-east-1\n')
    made.add_blueprint("tiny", MINIMAL)
    made.write("users/lab1.yaml", "id: lab1\ntitle: Lab One\nanalyses: [tiny]\n")
    return made


def example_project(folder: Path) -> Project:
    """Copy the example platform's YAML, beside a recipe and modules that stay as they are when the real ones change."""
    made = Project(folder=folder)
    for path in ("mayfly.yaml", "users/lab1.yaml", "users/lab2.yaml", "blueprints/pca/blueprint.yaml"):
        (made.folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, made.folder / path)
    made.write("blueprints/pca/environment/requirements.lock", "")
    made.write("blueprints/pca/environment/run.py", "print('pca')\n")
    made.write(".terraform.lock.hcl", "# what `terraform providers lock` writes\n")
    return _with_short_modules(made)


def aws_project(folder: Path) -> Project:
    """Make a platform of three analyses on AWS that uses everything a root can hold, and breaks no rule unexplained."""
    made = Project(folder=folder)
    minimal = MINIMAL + "environment: {image: {eu-central-1: ami-0123456789abcdef0}}\n"
    made.write(
        "mayfly.yaml",
        """\
        name: lab
        cloud: aws
        account: "123456789012"
        region: eu-central-1
        tags: {cost-center: "4711"}
        state: {bucket: lab-terraform-states}
        network: {vpc: vpc-0123456789abcdef0, subnets: [subnet-0123456789abcdef0]}
        permissions_boundary: arn:aws:iam::123456789012:policy/limit
        runner_trust: [arn:aws:iam::123456789012:role/lab-host]
        cors_origins: [https://mayfly.example, "http://localhost:8000"]
        """,
    )
    made.add_blueprint("renamed", minimal.replace("tiny", "renamed") + "renamed_from: first-name\n")
    made.add_blueprint(
        "kept-for-a-while",
        minimal.replace("tiny", "kept-for-a-while")
        + "bucket: a-bucket-with-a-name\n"
        + "retention: {inputs_days: 30, results_days: 400, archive_class: GLACIER_IR, archive_after_days: 90}\n",
    )
    made.add_blueprint("going", minimal.replace("tiny", "going") + "purge: true\n")
    made.write(
        "policies/waivers.yaml",
        """\
        waivers:
          - rule: MF004
            root: analyses/going
            reason: It is there to go.
            expires: 2099-12-31
        """,
    )
    made.write(
        "users/lab1.yaml",
        """\
        id: lab1
        title: Lab One
        members:
          - {name: Ada, email: ada@lab1.example, role: owner}
          - {name: Ben, email: ben@lab1.example}
        budget: {amount: 50, period: yearly, alerts: [50, 100]}
        analyses: [renamed, kept-for-a-while, going]
        collaborators: [lab2]
        storage: {retention_days: 200, outside_buckets: [lab1-own-data]}
        """,
    )
    made.write(
        "users/lab2.yaml",
        """\
        id: lab2
        title: Lab Two
        analyses: [renamed]
        credentials: {kind: iam_user, pgp_key: aGVsbG8=}
        """,
    )
    made.write(".terraform.lock.hcl", "# what `terraform providers lock` writes\n")
    return _with_short_modules(made)


def large_project(folder: Path) -> Project:
    """Make a platform of forty analyses and eight groups; the first group uses more than its role can hold inline."""
    made = Project(folder=folder)
    made.write("mayfly.yaml", 'name: large\naccount: "123456789012"\nregion: us-east-1\n')
    ids = [f"analysis-{number:02}" for number in range(40)]
    for name in ids:
        made.add_blueprint(name, MINIMAL.replace("tiny", name))
    for number in range(8):
        used = ids if number == 0 else ids[number::8]
        made.write(f"users/group-{number}.yaml", f"id: group-{number}\ntitle: Group\nanalyses: [{', '.join(used)}]\n")
    return _with_short_modules(made)


def _with_short_modules(made: Project) -> Project:
    for module in ("base", "analysis", "group", "job"):
        made.write(f"modules/{module}/main.tf", f"# the module {module}\n")
    return made
