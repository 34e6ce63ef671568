"""Importing NeuroCAAS's templates: what they become, what is said about them, and that nothing makes it fall."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.blueprint import Blueprint, Protocol, Stage
from compiler.importing.findings import Severity
from compiler.importing.landing import Fate, Landing, plan_landing, write_landing
from compiler.importing.names import make_id, read_origin
from compiler.importing.project import Surroundings, import_templates
from compiler.load import inspect_project, load_platform
from compiler.model import Platform
from tests.compiler.projects import small_project

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "neurocaas"


def templates() -> dict[str, bytes]:
    return {
        path.relative_to(FIXTURES).as_posix(): path.read_bytes() for path in sorted(FIXTURES.rglob("*_template.json"))
    }


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Landing]:
    project = tmp_path_factory.mktemp("imported")
    landing = plan_landing(project, templates(), force=False)
    write_landing(project, landing)
    return project, landing


@pytest.fixture(scope="module")
def platform(landed: tuple[Path, Landing]) -> Platform:
    return load_platform(landed[0])


def blueprint(platform: Platform, name: str) -> Blueprint:
    return platform.blueprints[name]


def said(landing: Landing, file: str, field: str) -> list[str]:
    return [one.message for one in landing.findings if one.file.startswith(file) and one.field == field]


def test_what_is_written_passes_the_check(landed: tuple[Path, Landing]) -> None:
    assert inspect_project(landed[0]).findings.errors == ()


def test_every_template_that_can_be_read_becomes_a_draft(platform: Platform) -> None:
    assert set(platform.blueprints) == {
        "pose-ncap-web",
        "ensemble-pose",
        "wfield-preprocess",
        "label-job-create-web",
        "epi-ncap-web",
        make_id("Old Demo.Bucket"),
        "fill-me-in",
    }
    assert {one.stage for one in platform.blueprints.values()} == {Stage.DRAFT}


def test_image_machine_limits_and_cost_cap(platform: Platform) -> None:
    one = blueprint(platform, "pose-ncap-web")
    assert one.environment.image == {"us-east-1": "ami-0a1b2c3d4e5f60718"}
    assert [(choice.instance_type, choice.gpus) for choice in one.resources] == [("g5.2xlarge", 1)]
    assert (one.limits.duration_s, one.limits.max_duration_s, one.limits.instances) == (3600, 171_960, 300)
    assert (one.limits.cost, one.bucket) == (600, "pose-ncap-web")
    assert platform.groups["paninski-group"].budget.amount == 600


def test_protocols_and_post_handlers(platform: Platform) -> None:
    ensemble, labels, epi = (blueprint(platform, n) for n in ("ensemble-pose", "label-job-create-web", "epi-ncap-web"))
    assert (ensemble.protocol, ensemble.ensemble and ensemble.ensemble.entry_point) == (
        Protocol.ENSEMBLE,
        "postprocess.py",
    )
    assert labels.protocol is epi.protocol is Protocol.CHAIN
    assert labels.chain
    assert [(step.entry_point, step.inputs) for step in labels.chain.steps] == [
        ("data_format_lambda.py", "SeqLabel.json")
    ]
    assert epi.chain
    assert [step.entry_point for step in epi.chain.steps] == ["postprocess_epi.py"]
    assert blueprint(platform, "wfield-preprocess").inputs.folders
    assert blueprint(platform, "pose-ncap-web").protocol is Protocol.PER_DATASET


def test_affiliates_become_access_entries_and_groups(platform: Platform) -> None:
    assert blueprint(platform, "pose-ncap-web").access.groups == ("debuggers", "paninski-group")
    debuggers = platform.groups["debuggers"]
    assert debuggers.analyses == ("ensemble-pose", "epi-ncap-web", "pose-ncap-web", "wfield-preprocess")
    assert [(m.name, m.email, str(m.role)) for m in debuggers.members] == [
        ("dummyuser", "dummy@debug.example", "owner"),
        ("taiga", "taiga@debug.example", "member"),
    ]
    assert [m.email for m in platform.groups["churchland-lab"].members] == ["jc@churchland.example"]


def test_names_like_addresses_become_ids_that_are_unique_and_lead_back(
    landed: tuple[Path, Landing], platform: Platform
) -> None:
    project, landing = landed
    names = ["jane.doe@lab.examplegroup", "jane-doe@lab.examplegroup"]
    ids = [landing.imported.ids["groups"][name] for name in names]
    assert len(set(ids)) == 2
    for name, found in zip(names, ids, strict=True):
        assert found.startswith("jane-doe-lab-examplegroup"[:20])
        assert read_origin((project / "users" / f"{found}.yaml").read_text()) == name
        assert platform.groups[found].title == name
    assert make_id("lab1") == "lab1"
    assert len({make_id(name) for name in ("Lab1", "lab1", "LAB1", "lab 1", "lab-1", "platform")}) == 6


@pytest.mark.parametrize(
    ("file", "field", "words"),
    [
        (
            "tracking",
            "Lambda.LambdaConfig.INSTANCE_TYPE",
            "p3.2xlarge is retired or retiring; its successor g5.2xlarge",
        ),
        ("tracking", "UXData.Affiliates[0].UserNames", "1 of 2 people have no e-mail address"),
        ("tracking", "UXData.Affiliates[0].ContactEmail", "stands in place of a value"),
        ("labels", "Lambda.LambdaConfig.MAXCOST", "is text that holds a number; read as 300"),
        ("dangling", "Lambda.Handler", "'submit_start.handler_log' does not exist"),
        ("dangling", "Lambda.PostHandler", "'postprocess.epipostproces' does not exist"),
        ("dangling", "Lambda.LambdaConfig.REGION", "'us-west-2' contradicts REGION, 'us-east-1'"),
        ("dangling", "Lambda.LambdaConfig.EXECUTION_TIMEOUT", "contradicts SSM_TIMEOUT"),
        ("dangling", "Lambda.LambdaConfig.LAUNCH", "contradicts Lambda.Launch"),
        ("dangling", "Lambda.LambdaConfig.SHUTDOWN_BEHAVIOR", "is not 'terminate'"),
        ("dangling", "Lambda.LambdaConfig.OUTDIR", "is not 'results'"),
        ("dangling", "Lambda.LambdaConfig.COMMAND", "lets something read the names of files as code"),
        ("dangling", "STAGE", "is no stage"),
        ("dangling", "PipelineName", "is not an id of ours"),
        ("placeholders", "Lambda.LambdaConfig.AMI", "stands in place of a value"),
        ("placeholders", "Lambda.LambdaConfig.INSTANCE_TYPE", "stands in place of a value"),
        ("placeholders", "Lambda.LambdaConfig.MAXCOST", "stands in place of a number"),
        ("placeholders", "Lambda.LambdaConfig.SSM_TIMEOUT", "is outside 60 to 604800"),
        ("placeholders", "Lambda.LambdaConfig.COMMAND", "stands in place of a command"),
        ("placeholders", "UXData.Affiliates[0].AffiliateName", "stands in place of a value"),
        ("labels", "UXData.Affiliates[0].UserInput", "is neither true nor false"),
        ("broken", "", "is not JSON: Illegal trailing comma before end of object at line 3"),
        ("users", "UXData.Affiliates[2]", "lists 'gone-web', which is not imported"),
        ("users", "UXData.Affiliates[2]", "lists 'wfield-preprocess', whose own template (webdev) does not name it"),
        ("users", "UXData.Affiliates[3]", "ada@lab.example of 'second-home' is a member of 'paninski-group' already"),
        ("users", "Lambda", "is decided by mayfly.yaml"),
    ],
)
def test_what_needs_a_person_is_told_with_its_field(
    landed: tuple[Path, Landing], file: str, field: str, words: str
) -> None:
    found = said(landed[1], file, field)
    if file == "broken" and sys.version_info < (3, 13):
        words = "is not JSON: Expecting property name enclosed in double quotes at line 3"
    assert any(words in message for message in found), found


def test_what_cannot_be_translated_is_kept_in_a_comment(landed: tuple[Path, Landing]) -> None:
    text = (landed[0] / "blueprints" / make_id("Old Demo.Bucket") / "blueprint.yaml").read_text()
    kept = json.loads(
        "\n".join(line[2:] for line in text.splitlines() if line.startswith("# ")).split("translated:")[1]
    )
    assert kept["Lambda"]["LambdaConfig"]["COMMAND"] == "bash -c 'run.sh {} {} {} {}'"
    assert kept["Lambda"]["LambdaConfig"]["IAM_ROLE"] == "SSMRole"
    assert "INSTANCE_TYPE" not in kept["Lambda"]["LambdaConfig"]


def test_an_imported_entry_point_runs_its_command_with_names_as_arguments(
    landed: tuple[Path, Landing], tmp_path: Path
) -> None:
    recipe = tmp_path / "environment"
    recipe.mkdir()
    source = landed[0] / "blueprints" / "pose-ncap-web" / "environment"
    (recipe / "run.py").write_bytes((source / "run.py").read_bytes())
    command = (source / "command.sh").read_text()
    assert '"${1}" "${2}" "${3}" "${4}"' in command
    script = 'cp "${1}/${2}" "${1}/${3}/copy"; cat "${1}/${4}" >> "${1}/${3}/copy"; '
    (recipe / "command.sh").write_text(script + 'printf "%s\\n" "${2}" >> "${1}/${3}/copy"\n')
    evil = "a $(touch hacked) `touch hacked` ; touch hacked 'x' \".tif"
    for name in ("results", "scratch", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / evil).write_text("data\n")
    (tmp_path / "data" / "config.yaml").write_text("config\n")
    manifest = tmp_path / "manifest.json"
    told = {name: str(tmp_path / name) for name in ("results", "scratch")}
    told |= {"config": str(tmp_path / "data" / "config.yaml")}
    manifest.write_text(json.dumps({**told, "inputs": [str(tmp_path / "data" / evil)], "parameters": {}, "task": 0}))
    done = subprocess.run([sys.executable, str(recipe / "run.py"), str(manifest)], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "results" / "copy").read_text() == f"data\nconfig\ninputs/{evil}\n"
    assert not (tmp_path / "hacked").exists()


def test_a_second_import_changes_nothing_and_keeps_what_a_person_changed(tmp_path: Path) -> None:
    write_landing(tmp_path, plan_landing(tmp_path, templates(), force=False))
    again = plan_landing(tmp_path, templates(), force=False)
    assert set(again.fates.values()) == {Fate.UNCHANGED}
    mine = tmp_path / "blueprints" / "epi-ncap-web" / "blueprint.yaml"
    mine.write_text(mine.read_text().replace("title: epi-ncap-web", "title: Mine"))
    (tmp_path / "blueprints" / "epi-ncap-web" / "environment" / "run.py").write_text("# mine\n")
    kept = plan_landing(tmp_path, templates(), force=False)
    assert kept.fates["blueprints/epi-ncap-web"] is Fate.KEPT
    assert kept.files() == {}
    forced = plan_landing(tmp_path, templates(), force=True)
    assert forced.fates["blueprints/epi-ncap-web"] is Fate.REPLACED
    write_landing(tmp_path, forced)
    assert "title: epi-ncap-web" in mine.read_text()


def test_an_import_fits_in_with_the_project_it_goes_into(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "mayfly.yaml").write_text('name: demo\naccount: "123456789012"\nregion: eu-west-1\n')
    (tmp_path / "users" / "here.yaml").write_text(
        "id: here\ntitle: Here\nmembers: [{name: Jane, email: Jane.Doe@lab.example}]\n"
    )
    landing = plan_landing(tmp_path, templates(), force=False)
    write_landing(tmp_path, landing)
    assert "mayfly.yaml" not in landing.fates
    assert any("is a member of 'here' already" in one.message for one in landing.findings)
    assert blueprint(load_platform(tmp_path), "epi-ncap-web").resources[0].region == "us-east-1"


def test_an_analysis_that_was_renamed_here_is_not_imported_once_more(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    older = "id: older\ntitle: Old\nstage: draft\nrenamed_from: epi-ncap-web\nresources: [{instance_type: t3.medium}]\n"
    project.add_blueprint("older", older)
    landing = plan_landing(tmp_path, templates(), force=False)
    write_landing(tmp_path, landing)
    assert not (tmp_path / "blueprints" / "epi-ncap-web").exists()
    assert said(landing, "epi", "PipelineName") == ["is the analysis 'older' of the project already."]
    assert "older" in load_platform(tmp_path).groups["debuggers"].analyses


def test_ids_leave_room_for_a_deployment_with_a_long_name(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    project.write("mayfly.yaml", f'name: {"d" * 32}\naccount: "123456789012"\nregion: us-east-1\n')
    landing = plan_landing(tmp_path, templates(), force=False)
    write_landing(tmp_path, landing)
    assert project.errors() == []
    assert landing.refused == ()


def test_many_analyses_of_one_group_pass_the_check(tmp_path: Path) -> None:
    names = [f"analysis-with-a-long-name-{n:03}" for n in range(200)]
    affiliates = {"Affiliates": [{"AffiliateName": "lab1"}]}
    raw = {f"{name}.json": json.dumps({"PipelineName": name, "UXData": affiliates}).encode() for name in names}
    group = {"AffiliateName": "lab1", "UserNames": ["a@lab.example"], "Pipelines": names}
    raw["users.json"] = json.dumps({"UXData": {"Affiliates": [group]}}).encode()
    landing = plan_landing(tmp_path, raw, force=False)
    write_landing(tmp_path, landing)
    assert len(load_platform(tmp_path).groups["lab1"].analyses) == 200


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "users").symlink_to(tmp_path / "elsewhere")
    write_landing(project, plan_landing(project, templates(), force=True))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is not JSON"),
        (b"[]", "holds a list where a mapping is expected"),
        (b"null", "holds nothing"),
        (b'"PipelineName"', "where a mapping is expected"),
        (b"{}", "is neither a stack_config_template.json"),
        (b'{"PipelineName": NaN}', "NaN is no JSON number"),
        (b'{"PipelineName": ' + b"9" * 5000 + b"}", "is not JSON that can be read"),
        (b'{"PipelineName": 1e999999999999}', ""),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "is nested more than"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b" " * 1_000_001, "is larger than"),
        (b'{"PipelineName": "caiman", "PipelineName": 5}', "is there twice"),
        (b'{"PipelineName": "\\ud800\\u0000\\u001b[31m", "Lambda": []}', "is not an id of ours"),
        (b'{"PipelineName": "abc", "Lambda": {"LambdaConfig": []}}', "must be a mapping, not a list"),
        (b'{"PipelineName": ""}', "stands in place of a value"),
    ],
)
def test_no_bytes_make_it_fall(raw: bytes, words: str, tmp_path: Path) -> None:
    landing = plan_landing(tmp_path, {"it.json": raw}, force=False)
    write_landing(tmp_path, landing)
    assert any(words in one.message for one in landing.findings)
    if landing.imported.units:
        assert inspect_project(tmp_path).findings.errors == ()


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
    st.sampled_from(
        ["", "300", "-1", "${1+1}", "%{if}", "<here>", "a@b.example", "ami-0a1b2c3d4", "p3.2xlarge", "x" * 300]
    ),
    st.sampled_from(["{} {} {} {}", "'{}' \"{}\" {} {}", "a '{} {} {} {}'", "{}\\", "$({}) {} {} {}\n# '"]),
)
JSON = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, bytes]:
    """Real templates with any of their values replaced by anything."""
    chosen = draw(st.lists(st.sampled_from(sorted(templates())), min_size=1, max_size=3, unique=True))
    made = {}
    for name in chosen:
        try:
            data = json.loads(templates()[name])
        except ValueError:
            data = draw(JSON)
        places = list(walk(data))
        for path in draw(st.lists(st.sampled_from(places), max_size=6)) if places else ():
            replace_at(data, path, draw(JSON))
        made[name] = json.dumps(data).encode()
    return made


def walk(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [found for key, value in items for found in [(*path, key), *walk(value, (*path, key))]]


def replace_at(data: Any, path: tuple[Any, ...], value: Any) -> None:
    for part in path[:-1]:
        try:
            data = data[part]
        except (TypeError, KeyError, IndexError):
            return  # replaced above
    if isinstance(data, dict | list) and (isinstance(data, dict) or isinstance(path[-1], int)):
        if isinstance(data, list) and path[-1] >= len(data):
            return
        data[path[-1]] = value


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(raw=mutations() | st.fixed_dictionaries({"any.json": JSON.map(lambda v: json.dumps(v).encode())}))
def test_no_json_makes_it_fall_and_what_it_writes_passes_the_check(
    raw: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    imported = import_templates(raw, Surroundings())
    assert imported == import_templates(raw, Surroundings())
    project = tmp_path_factory.mktemp("any")
    landing = plan_landing(project, raw, force=False)
    assert landing.refused == ()
    write_landing(project, landing)
    if landing.imported.units:
        assert inspect_project(project).findings.errors == ()
    for one in landing.findings:
        assert one.severity in Severity
        assert one.message
        assert "\n" not in one.message


@given(name=st.text(max_size=60) | st.emails())
def test_every_name_gets_a_valid_id_that_is_its_own(name: str) -> None:
    found = make_id(name)
    assert make_id(found) == found
    assert found == name or found[-7] == "-"
    assert 3 <= len(found) <= 32
