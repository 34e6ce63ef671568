"""Protocols, retention, renames, groups and the last release: what must fit together, does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.load import inspect_project, load_platform
from compiler.release import Release
from compiler.rules import RULES
from compiler.sarif import sarif
from tests.compiler.projects import MINIMAL, REPOSITORY, Project

HEAD = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'
DRAFT = MINIMAL.replace("public", "draft")


def messages(project: Project) -> str:
    return "\n".join(project.errors())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("protocol: chain\nchain: {steps: [{analysis: tiny}]}", "chain.steps[0].analysis: 'tiny' leads back to this"),
        ("protocol: chain\nchain: {steps: [{analysis: tinny}]}", "there is no analysis 'tinny'. Did you mean 'tiny'?"),
        ("protocol: chain\nchain: {steps: [{}]}", "chain.steps[0]: must name either an analysis or an entry_point."),
        ("protocol: chain\nchain: {steps: [{analysis: other, entry_point: x.py}]}", "must name either an analysis or"),
        ("protocol: chain\nchain: {steps: []}", "chain.steps: needs at least 1 of these."),
        ("protocol: chain\nchain: {}", "chain.steps: is missing. It says: The steps"),
        ("protocol: chain", "chain: is missing: the protocol chain needs its steps."),
        ("chain: {steps: [{analysis: other}]}", "chain: means nothing to the protocol per_dataset. Remove it, or set"),
        (
            "ensemble: {size: 3}",
            "ensemble: means nothing to the protocol per_dataset. Remove it, or set `protocol: ens",
        ),
        ("protocol: ensemble\nensemble: {size: 21}", "ensemble.size: 21 are more than max_size, 20. Raise max_size."),
        ("protocol: ensemble\nensemble: {max_size: 101}", "101 replicas are more than limits.instances, 100."),
        (
            "protocol: ensemble\nparameters: {properties: {jobnb: {}}}",
            "jobnb: is reserved: the protocol ensemble",
        ),
        (
            "protocol: chain\nchain: {steps: [{analysis: other, instance_type: m5.large}]}",
            "chain.steps[0].instance_type: 'm5.large' is not in the resource bank of 'other'.",
        ),
        (
            "protocol: chain\nchain: {steps: [{analysis: other, parameters: {n: 99}}]}",
            "chain.steps[0].parameters.n: must be at most 9, not 99 (a parameter of 'other': n).",
        ),
        ("keep_failed: 30", 'keep_failed: must be text, not 30. Put it in quotes: "30".'),
        ("keep_failed: 30min", 'keep_failed: "30min" is not a time span such as 90s, 30m or 2h.'),
        ("keep_failed: 3h", "keep_failed: is longer than limits.max_duration, when the machine is gone."),
        ("on_failure: explode", 'on_failure: "explode" is none of "continue", "stop".'),
        ("interruption: {retries: -1}", "interruption.retries: must be at least 0, not -1."),
        ("interruption: {fallback: none}", 'interruption.fallback: "none" is none of "spot", "standard".'),
        ("retention: {results_days: 0}", "retention.results_days: must be at least 1, not 0."),
        ("retention: {archive_class: ICE}", 'retention.archive_class: "ICE" is none of "STANDARD_IA", "GLACIER_IR"'),
        ("retention: {archive_after_days: 3}", "archive_after_days: means nothing without archive_class."),
        (
            "retention: {results_days: 30, archive_class: GLACIER}",
            "results are deleted after 30 days, so nothing is left to archive.",
        ),
        (
            "retention: {archive_class: STANDARD_IA, archive_after_days: 29}",
            "S3 moves nothing to STANDARD_IA before 30 days.",
        ),
        ("renamed_from: tiny", "renamed_from: is its own id."),
        ("renamed_from: other", "renamed_from: 'other' is"),
        ("contact: me", 'contact: "me" is not an e-mail address.'),
        ("citation: ''", "citation: must not be empty."),
        ("links: [{title: x, url: 'javascript:x'}]", 'links[0].url: "javascript:x" is not a URL such as'),
        ("title2: x", "title2: is not a key that this place has. Did you mean 'title'?"),
        ("inputs: {min_mb: 2000, max_gb: 1}", "inputs.min_mb: is more than max_gb: no dataset would be accepted."),
        ("parameters: {properties: {a: {minimun: 1}}}", "a.minimun: is not a keyword of JSON Schema 2020-12"),
        ("parameters: {properties: {a: {minimun: 1}}}", "Did you mean 'minimum'?"),
        ("parameters: {properties: {a: {type: integer, examples: [1, x]}}}", "a.examples[1]: does not satisfy its own"),
        (
            "parameters: {properties: {a: {default: 1}, b: {default: 2}}, maxProperties: 1}",
            "parameters: the defaults together do not satisfy the schema: may have at most 1 entries.",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(project: Project, change: str, expected: str) -> None:
    other = MINIMAL.replace("tiny", "other") + "parameters: {properties: {n: {type: integer, maximum: 9}}}\n"
    project.add_blueprint("other", other)
    project.add_blueprint("tiny", DRAFT + change + "\n")
    assert expected in messages(project)


def test_protocols_of_a_later_release_are_drafts(project: Project) -> None:
    settings = "protocol: ensemble\nensemble: {size: 3, entry_point: consensus.py}\n"
    project.add_blueprint("tiny", MINIMAL + settings)
    assert "protocol: the protocol ensemble cannot be run yet. Set `stage: draft` until it can." in messages(project)
    assert "ensemble.entry_point: there is no file 'consensus.py' in 'environment'." in messages(project)
    project.add_blueprint("tiny", DRAFT + settings)
    project.write("blueprints/tiny/environment/consensus.py", "")
    assert project.errors() == []


def test_chains_that_lead_back_through_others_are_told(project: Project) -> None:
    for name, after in (("tiny", "two"), ("two", "three"), ("three", "tiny")):
        chain = f"protocol: chain\nchain: {{steps: [{{analysis: {after}}}]}}\n"
        project.add_blueprint(name, DRAFT.replace("tiny", name) + chain)
    assert messages(project).count("leads back to this analysis: the chain would never end.") == 3


def test_a_unit_and_own_keywords_are_allowed_in_parameters(project: Project) -> None:
    rule = "{type: number, unit: Hz, x-widget: slider, default: 1, examples: [1, 2.5]}"
    project.add_blueprint("tiny", MINIMAL + f"parameters: {{properties: {{rate: {rule}}}, required: [rate]}}\n")
    assert project.errors() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("collaborators: [lab1]", "collaborators[0]: is the group itself."),
        ("collaborators: [lab2]", "collaborators[0]: there is no group 'lab2'. Did you mean 'lab1'?"),
        ("credentials: {kind: iam_user}", "credentials.pgp_key: is missing: the secret of an IAM user is never"),
        ("credentials: {pgp_key: AAAA}", "credentials.pgp_key: means nothing for short-lived credentials."),
        ("credentials: {kind: iam_usr}", "Did you mean 'iam_user'?"),
        ("credentials: {kind: iam_user, pgp_key: '-----BEGIN'}", "is not a PGP public key in base64"),
        ("storage: {quota_gb: 0}", "storage.quota_gb: must be at least 1, not 0."),
        ("notify: {webhooks: ['http://x.example']}", "only https is called"),
        ("notify: {emails: [x]}", 'notify.emails[0]: "x" is not an e-mail address.'),
        ("join_code: secret", "join_code: is not a key that this place has."),
        ("budget: {currency: EUR}", 'budget.currency: "EUR" is none of "USD".'),
    ],
)
def test_profiles_are_held_to_their_rules(project: Project, change: str, expected: str) -> None:
    project.write("users/lab1.yaml", f"id: lab1\ntitle: x\n{change}\n")
    (message,) = project.errors()
    assert message.startswith("users/lab1.yaml:3:")
    assert expected in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("limits: {instances: 5, per_group: 6}", "limits.per_group: 6 are more than limits.instances, 5."),
        ("mail: {server: mail.example}", "mail.sender: is missing. It says: The address that notices come from."),
        ("permissions_boundary: x", 'permissions_boundary: "x" is not the ARN of an IAM policy.'),
        ("cors_origins: ['*']", 'cors_origins[0]: "*" is not an origin such as https://mayfly.example.'),
        ("cors_origins: ['https://a.example/']", "is not an origin such as"),
        ("tags: {a: '${x}'}", 'tags.a: "${x}" is not a tag'),
    ],
)
def test_the_deployment_is_held_to_its_rules(project: Project, change: str, expected: str) -> None:
    project.write("mayfly.yaml", HEAD + change + "\n")
    (message,) = project.errors()
    assert expected in message


def test_warnings_about_people_and_drafts(project: Project) -> None:
    project.add_blueprint("tiny", DRAFT)
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\nmembers: [{name: A, email: a@b.example}]\nanalyses: [tiny]\n")
    text = "\n".join(project.warnings())
    assert "members: nobody owns this group: nobody is told about its budget." in text
    assert "analyses[0]: 'tiny' is a draft: nobody can run it yet." in text
    assert project.errors() == []
    assert not load_platform(project.folder).may_use("lab1", "tiny")


def test_access_of_a_public_analysis_means_nothing(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL + "access: {groups: [lab1]}\n")
    assert "access: means nothing while the stage is public" in "\n".join(project.warnings())


def test_more_instances_than_the_platform_has_is_a_warning(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "limits: {instances: 5}\n")
    assert project.warnings() == []
    project.add_blueprint("tiny", MINIMAL + "limits: {instances: 6}\n")
    assert "limits.instances: 6 are more than the whole platform may use at once, 5." in "\n".join(project.warnings())


class TestRelease:
    RELEASE = Release(name="v1", deployment="demo", buckets={"tiny": None}, groups=frozenset({"lab1"}))

    def found(self, project: Project, release: Release = RELEASE) -> tuple[list[str], list[str]]:
        findings = inspect_project(project.folder, release).findings
        return [str(e) for e in findings.errors], [str(w) for w in findings.warnings]

    def test_the_same_ids_are_right(self, project: Project) -> None:
        assert self.found(project) == ([], [])

    def test_what_went_away_is_told(self, project: Project) -> None:
        gone = Release(name="v1", deployment="demo", buckets={"tiny": None, "old": None}, groups=frozenset({"lab0"}))
        errors, warnings = self.found(project, gone)
        assert errors == []
        assert warnings[0].startswith("blueprints/old/blueprint.yaml: was there in v1 and is gone: its bucket and all")
        assert warnings[0].endswith("If it has a new id, say `renamed_from: old` there.")
        assert warnings[1].startswith("users/lab0.yaml: was there in v1 and is gone")

    def test_a_rename_keeps_the_bucket(self, project: Project) -> None:
        release = Release(name="v1", deployment="demo", buckets={"old": None}, groups=frozenset())
        project.add_blueprint("tiny", MINIMAL + "renamed_from: old\n")
        assert self.found(project, release) == ([], [])
        assert load_platform(project.folder).bucket("tiny") == "demo-old"

    def test_a_rename_from_nothing_is_refused(self, project: Project) -> None:
        release = Release(name="v1", deployment="demo", buckets={}, groups=frozenset())
        project.add_blueprint("tiny", MINIMAL + "renamed_from: old\n")
        (error,) = self.found(project, release)[0]
        assert "renamed_from: there was no analysis 'old' in v1." in error

    def test_another_bucket_or_another_deployment_is_refused(self, project: Project) -> None:
        project.add_blueprint("tiny", MINIMAL + "bucket: new-bucket\n")
        (error,) = self.found(project)[0]
        assert "bucket: the bucket was 'demo-tiny' in v1 and would be 'new-bucket'" in error
        assert error.endswith("Say `bucket: demo-tiny`, or copy the data first.")
        other = Release(name="v1", deployment="live", buckets={"tiny": None}, groups=frozenset())
        assert "name: was 'live' in v1: every bucket and role would be made anew." in self.found(project, other)[0][0]


def test_sarif_names_rule_place_and_way_out(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL + "stgae: public\nkeep_failed: 9h\n")
    project.write("users/lab1.yml", "")
    log = sarif(project.inspect().findings, version="0.1.0")
    json.dumps(log)
    (run,) = log["runs"]
    results = {result["ruleId"]: result for result in run["results"]}
    assert set(results) == {"unknown-key", "file"}
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    unknown = results["unknown-key"]
    assert rules[unknown["ruleIndex"]] == "unknown-key"
    assert unknown["message"]["text"] == "stgae: is not a key that this place has. Did you mean 'stage'?"
    place = unknown["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 6, "startColumn": 1}
    assert place["artifactLocation"] == {"uri": "blueprints/tiny/blueprint.yaml", "uriBaseId": "PROJECT"}
    assert "region" not in results["file"]["locations"][0]["physicalLocation"]


def test_every_rule_that_code_names_is_listed() -> None:
    """And every rule that is listed is named somewhere."""
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in Path(REPOSITORY / "compiler").glob("*.py")
        if path.name != "rules.py"
    )
    for rule in RULES:
        assert f'"{rule}"' in code or rule == "source", rule


def test_the_analyses_of_the_original_are_all_there_and_none_runs_on_a_retired_machine() -> None:
    inspection = inspect_project(REPOSITORY)
    assert inspection.findings.errors == ()
    assert not [w for w in inspection.findings.warnings if w.rule == "machine-retired"]
    platform = load_platform(REPOSITORY)
    served = {
        *("caiman", "pmd", "locanmf", "widefield-preprocess", "deeplabcut", "deeplabcut2", "deepgraphpose"),
        *("ensemble-deepgraphpose", "autolfads", "radical", "yass", "epi", "bardensr", "label-job-create"),
        *("attention-ensemble", "onephoton-compress", "onephoton-motion-correct", "onephoton-demix"),
        *("custom-tracker", "pca"),
    }
    assert served == platform.blueprints.keys()
    assert platform.blueprints["deeplabcut2"].limits.instances == 300
    assert platform.blueprints["deeplabcut2"].limits.cost == 600
    assert platform.blueprints["yass"].resources[0].instance_type == "g4dn.12xlarge"


PATTERNS = ("mayfly.yaml", "users/*.yaml", "blueprints/*/*.yaml")


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(REPOSITORY).as_posix() for pattern in PATTERNS for p in REPOSITORY.glob(pattern))
)
def test_editors_find_the_schema_of_every_file(path: str) -> None:
    head, _, _ = (REPOSITORY / path).read_text(encoding="utf-8").partition("\n")
    mark = "# yaml-language-server: $schema="
    assert head.startswith(mark)
    assert ((REPOSITORY / path).parent / head.removeprefix(mark)).resolve().is_file()
