"""What the files of a project must agree on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.load import load_platform
from state.errors import SourcesError
from tests.compiler.projects import MINIMAL, REPOSITORY, Project

HEAD = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'
PRIVATE = MINIMAL.replace("public", "private")


def test_the_example_platform_is_right_and_shows_a_refusal(example: Project) -> None:
    assert example.errors() == example.warnings() == []
    platform = load_platform(example.folder)
    assert platform.may_use("lab1", "pca")
    assert not platform.may_use("lab2", "pca")
    assert not platform.may_use("nobody", "pca")
    assert not platform.may_use("lab1", "nothing")
    assert platform.bucket("pca") == "demo-pca"
    blueprint = platform.analysis_of("demo-pca")
    assert blueprint is not None
    assert blueprint.id == "pca"
    assert platform.analysis_of("demo-platform") is None
    assert [choice.instance_type for choice in blueprint.resources] == ["m5.large", "m5.xlarge", "t3.medium"]


def test_the_repository_itself_compiles() -> None:
    assert load_platform(REPOSITORY).deployment.name == "demo"


def test_load_raises_everything_at_once(project: Project) -> None:
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\nanalyses: [tinny, other]\n")
    with pytest.raises(SourcesError) as caught:
        load_platform(project.folder)
    assert str(caught.value).splitlines() == [
        "users/lab1.yaml:3:12: analyses[0]: there is no analysis 'tinny'. Did you mean 'tiny'?",
        "users/lab1.yaml:3:19: analyses[1]: there is no analysis 'other'. Known here: tiny.",
    ]


def test_a_broken_blueprint_is_told_once_and_not_by_those_who_name_it(project: Project) -> None:
    project.write("blueprints/tiny/blueprint.yaml", "id: tiny\n")
    assert all(error.startswith("blueprints/tiny/") for error in project.errors())


def test_ids_are_the_names_of_their_places(project: Project) -> None:
    project.add_blueprint("other", MINIMAL)
    project.write("users/lab2.yaml", "id: lab1\ntitle: x\n")
    same = "The two must be the same, and never change."
    assert project.errors() == [
        f"blueprints/other/blueprint.yaml:1:5: id: 'tiny' is not the name of its folder, 'other'. {same}",
        f"users/lab2.yaml:1:5: id: 'lab1' is not the name of its file, 'lab2'. {same}",
    ]


@pytest.mark.parametrize("name", ["platform", "mayfly"])
def test_reserved_ids_are_refused(project: Project, name: str) -> None:
    project.add_blueprint(name, MINIMAL.replace("tiny", name))
    project.write(f"users/{name}.yaml", f"id: {name}\ntitle: x\n")
    text = "\n".join(project.errors())
    assert f"blueprints/{name}/blueprint.yaml:1:5: id: '{name}' is reserved" in text
    assert f"users/{name}.yaml:1:5: id: '{name}' is reserved" in text


@pytest.mark.parametrize("bad", ["Tiny", "a", "tiny-", "9tiny", "tïny", "a" * 33, "ti_ny"])
def test_ids_are_ids(project: Project, bad: str) -> None:
    project.add_blueprint(bad, MINIMAL.replace("id: tiny", f"id: {bad}"))
    (message,) = project.errors()
    assert f'id: "{bad}" is not an id: 3 to 32 lower-case letters' in message


def test_a_bucket_has_one_owner_and_a_legal_name(project: Project) -> None:
    project.add_blueprint("one", MINIMAL.replace("tiny", "one") + "bucket: demo-tiny\n")
    project.add_blueprint("two", MINIMAL.replace("tiny", "two") + "bucket: demo-platform\n")
    project.add_blueprint("three", MINIMAL.replace("tiny", "three") + "bucket: xn--three\n")
    project.add_blueprint("tour", MINIMAL.replace("tiny", "tour"))
    text = "\n".join(project.errors())
    assert "bucket: the bucket 'demo-platform' belongs to the platform itself." in text
    assert "the bucket 'demo-tiny' belongs to the analysis 'one'." in text
    assert "bucket: the bucket name 'xn--three' is of a kind that S3 keeps for itself." in text
    assert len(project.errors()) == 3


def test_names_are_measured(project: Project) -> None:
    long = "b" * 32
    project.write("mayfly.yaml", HEAD.replace("demo", "a" * 32))
    project.add_blueprint(long, MINIMAL.replace("id: tiny", f"id: {long}"))
    project.write(f"users/{long}.yaml", f"id: {long}\ntitle: x\n")
    text = "\n".join(project.errors())
    assert "has 65 characters; S3 allows 63." in text
    assert "has 74 characters; IAM allows 64." in text


def test_an_unknown_machine_is_refused_with_the_nearest(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL.replace("t3.medium", "t3.meduim"))
    (message,) = project.errors()
    assert message.startswith("blueprints/tiny/blueprint.yaml:5:20: resources[0].instance_type: 't3.meduim' is not")
    assert message.endswith("Did you mean 't3.medium'?")


def test_a_retired_machine_is_a_warning_with_its_successor(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL.replace("t3.medium", "p3.2xlarge"))
    assert project.errors() == []
    (message,) = project.warnings()
    assert message.startswith("blueprints/tiny/blueprint.yaml:5:20: resources[0].instance_type: p3.2xlarge is retired")
    assert message.endswith("Its successor is g5.2xlarge.")


def test_a_private_blueprint_that_nobody_can_use_is_a_warning(project: Project) -> None:
    project.add_blueprint("tiny", PRIVATE)
    assert project.errors() == []
    text = "\n".join(project.warnings())
    assert "access: nobody can use this private analysis." in text
    assert "users/lab1.yaml:3:12: analyses[0]: 'tiny' does not admit this group." in text


def test_a_private_blueprint_admits_groups_and_the_groups_of_people(project: Project) -> None:
    project.write("users/lab2.yaml", "id: lab2\ntitle: x\nanalyses: [tiny]\nmembers: [{name: A, email: a@b.example}]\n")
    project.add_blueprint("tiny", PRIVATE + "access: {groups: [lab1], users: [A@B.example]}\n")
    platform = load_platform(project.folder)
    assert platform.may_use("lab1", "tiny")
    assert platform.may_use("lab2", "tiny")
    project.add_blueprint("tiny", PRIVATE + "access: {groups: [lab1]}\n")
    assert not load_platform(project.folder).may_use("lab2", "tiny")


def test_access_names_who_exists(project: Project) -> None:
    project.add_blueprint("tiny", PRIVATE + "access: {groups: [lab1, lab9], users: [x@y.example]}\n")
    text = "\n".join(project.errors())
    assert ":6:25: access.groups[1]: there is no group 'lab9'. Did you mean 'lab1'?" in text
    assert "access.users[0]: 'x@y.example' is in no group." in text


def test_a_person_belongs_to_one_group(project: Project) -> None:
    members = "members: [{name: A, email: %s}]\n"
    project.write("users/lab2.yaml", "id: lab2\ntitle: x\n" + members % "A@b.example")
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\n" + members % "a@B.example")
    (message,) = project.errors()
    assert message.startswith("users/lab2.yaml:3:28: members[0].email: 'A@b.example' is already a member of 'lab1'.")


def test_money_that_cannot_suffice_is_a_warning(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL.replace("t3.medium", "m5.large") + "limits: {cost: 0.05}\n")
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\nanalyses: [tiny]\nbudget: {amount: 0.09}\n")
    assert project.errors() == []
    text = "\n".join(project.warnings())
    assert "limits.cost: one default task may cost 0.0960 USD, more than a job may, 0.05 USD." in text
    assert "budget.amount: the budget of 0.09 USD does not cover one default task of 'tiny', 0.0960 USD." in text


def test_aws_needs_a_state_bucket_and_the_embedded_cloud_has_none(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "cloud: aws\n")
    assert "state.bucket: is missing: on AWS" in project.errors()[0]
    project.write("mayfly.yaml", HEAD + "state: {bucket: my-state}\n")
    assert "mayfly.yaml:4:17: state.bucket: is for AWS only" in project.errors()[0]
    project.write("mayfly.yaml", HEAD + "cloud: aws\nstate: {bucket: my-state}\n")
    assert project.errors() == []


AWS = HEAD + "cloud: aws\nstate: {bucket: my-state}\n"
READY = AWS + "network: {public_ip: true}\n"


class TestWarningsOnAws:
    @pytest.fixture
    def on_aws(self, project: Project) -> Project:
        """A deployment on AWS that nothing is to be said against."""
        image = "environment: {image: {us-east-1: ami-0123456789abcdef0}}\n"
        project.add_blueprint("tiny", MINIMAL + image)
        project.write("mayfly.yaml", READY)
        project.write(".terraform.lock.hcl", "# a lock\n")
        assert project.errors() == project.warnings() == []
        return project

    def test_machines_get_no_public_address_unasked(self, on_aws: Project) -> None:
        on_aws.write("mayfly.yaml", AWS)
        (message,) = on_aws.warnings()
        assert (
            "network.public_ip: is not said: without subnets of yours every machine gets a public address." in message
        )
        on_aws.write("mayfly.yaml", AWS + "network: {public_ip: false}\n")
        (message,) = on_aws.warnings()
        assert "machines without a public address reach nothing from a default VPC" in message
        for more in ("", ", public_ip: true", ", public_ip: false"):
            on_aws.write("mayfly.yaml", f"{AWS}network: {{vpc: vpc-1234, subnets: [subnet-1234]{more}}}\n")
            assert on_aws.warnings() == []

    def test_a_lock_says_which_provider_plans(self, on_aws: Project) -> None:
        (on_aws.folder / ".terraform.lock.hcl").unlink()
        (message,) = on_aws.warnings()
        assert message.startswith("mayfly.yaml:1:1: has no .terraform.lock.hcl beside it")

    def test_more_roles_than_an_account_has_are_told(self, on_aws: Project) -> None:
        for number in range(499):
            on_aws.write(f"users/group-{number}.yaml", f"id: group-{number}\ntitle: x\n")
        (message,) = on_aws.warnings()
        assert "account: 500 groups make 1001 roles; an account has 1000 by default." in message
        (on_aws.folder / "users/group-0.yaml").unlink()
        assert on_aws.warnings() == []

    def test_none_of_it_is_said_of_the_embedded_cloud(self, on_aws: Project) -> None:
        (on_aws.folder / ".terraform.lock.hcl").unlink()
        on_aws.write("mayfly.yaml", HEAD)
        assert on_aws.warnings() == []


def test_policies_that_aws_would_refuse_are_refused_here_with_the_figure(project: Project) -> None:
    names = [f"analysis-with-a-long-name-{n:03d}" for n in range(250)]
    for name in names:
        project.add_blueprint(name, MINIMAL.replace("tiny", name))
    project.write("users/lab1.yaml", f"id: lab1\ntitle: x\nanalyses: [{', '.join(names)}]\n")
    text = "\n".join(project.errors())
    assert re.search(r"for 250 analyses have \d+ characters and need \d+ managed policies of 6144; IAM allows 10", text)
    assert "Opt in to fewer, or split the group." in text


class TestRecipe:
    def test_it_must_be_there(self, project: Project) -> None:
        (project.folder / "blueprints/tiny/environment/run.py").unlink()
        (project.folder / "blueprints/tiny/environment/requirements.lock").unlink()
        text = "\n".join(project.errors())
        assert "environment.recipe: environment/requirements.lock is missing." in text
        assert "environment.entry_point: there is no file 'run.py' in 'environment'." in text
        project.add_blueprint("tiny", MINIMAL + "environment: {recipe: elsewhere}\n")
        (message,) = project.errors()
        assert ":6:23: environment.recipe: there is no folder 'elsewhere' beside the blueprint." in message

    def test_a_draft_needs_none(self, project: Project) -> None:
        project.write("blueprints/later/blueprint.yaml", MINIMAL.replace("tiny", "later").replace("public", "draft"))
        assert project.errors() == []
        assert not load_platform(project.folder).may_use("lab1", "later")

    @pytest.mark.parametrize("link", ["environment", "environment/run.py", "environment/deep/er/link"])
    def test_links_are_refused(self, project: Project, tmp_path: Path, link: str) -> None:
        target = tmp_path / "outside"
        target.mkdir()
        for name in ("run.py", "requirements.lock"):
            (target / name).write_text("")
        path = project.folder / "blueprints/tiny" / link
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rename(tmp_path / "old")
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target if link == "environment" else target / "run.py")
        (message,) = project.errors()
        assert f"environment.recipe: {link} is a symbolic link." in message

    def test_a_linked_blueprint_is_refused(self, project: Project, tmp_path: Path) -> None:
        (project.folder / "blueprints/tiny").rename(tmp_path / "tiny")
        (project.folder / "blueprints/tiny").symlink_to(tmp_path / "tiny")
        assert "blueprints/tiny: is a symbolic link. Put the folder itself here." in project.errors()


def test_files_that_would_silently_mean_nothing_are_told(project: Project) -> None:
    project.write("users/lab7.yml", "id: lab7\ntitle: x\n")
    (project.folder / "blueprints/empty").mkdir()
    (project.folder / "blueprints/.hidden").mkdir()
    (project.folder / "blueprints/README.md").write_text("")
    assert project.errors() == [
        "blueprints/empty/blueprint.yaml: is missing. Write it, or remove the folder.",
        "users/lab7.yml: is not read. Rename it to lab7.yaml.",
    ]


def test_the_blueprint_that_the_readme_shows_is_whole(project: Project) -> None:
    shown = re.search(r"```yaml\n(id: .*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    assert len(shown[1].splitlines()) <= 12
    project.add_blueprint("pca", shown[1])
    assert project.errors() == project.warnings() == []


def test_a_bucket_of_the_platform_is_nobodys_own(project: Project) -> None:
    project.write(
        "users/lab1.yaml",
        "id: lab1\ntitle: x\nstorage: {outside_buckets: [own-data, demo-tiny, demo-platform]}\n",
    )
    assert [error.partition(": ")[2] for error in project.errors()] == [
        f"storage.outside_buckets[{number}]: {bucket!r} is a bucket of the platform itself. Leave it out: jobs without "
        "a resultpath work there."
        for number, bucket in ((1, "demo-tiny"), (2, "demo-platform"))
    ]
