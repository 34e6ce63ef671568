from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from compiler.blueprint import Access, Blueprint, Choice, Inputs, Limits, Price, Stage
from compiler.deployment import CloudKind, PlatformLimits
from compiler.job import Agent, render_user_data, task_manifest
from compiler.model import Platform
from compiler.profile import Storage
from runner.admission import Admission, admit
from runner.intake import parse_submission
from state.errors import AccessError, CloudError, SubmissionError
from state.job import Hardware, Program, Task
from state.submission import ObjectVersion
from state.vcpus import Family, Need, RegionQuotas
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import PRIVATE, a_blueprint, a_platform
from tests.fakes.scene import START

BUCKET, KEY = "demo-pca", "lab1/submissions/mice_submit.json"
NOW = START + timedelta(days=1)


@pytest.fixture
def cloud() -> FakeCloud:
    made = FakeCloud()
    made.make_bucket(BUCKET)
    made.write(BUCKET, "lab1/inputs/a.npy", b"x" * 100)
    made.write(BUCKET, "lab1/inputs/folder/1.npy", b"x" * 10)
    made.write(BUCKET, "lab1/inputs/folder/deep/2.npy", b"x" * 5)
    made.write(BUCKET, "lab1/configs/c.yaml", b"n_components: 3\n")
    made.register_image(name="iae-d1", digest="d1", architecture="x86_64")
    return made


def run(
    cloud: FakeCloud,
    *,
    platform: Platform | None = None,
    config: str | None = None,
    group: str = "lab1",
    now: datetime = NOW,
    **fields: Any,
) -> Admission:
    if config is not None:
        cloud.write(BUCKET, "lab1/configs/c.yaml", config.encode())
    asked = {"dataname": f"{group}/inputs/a.npy", "configname": f"{group}/configs/c.yaml", "timestamp": "t1"} | fields
    body = json.dumps(asked).encode()
    wrote = cloud.write(BUCKET, KEY.replace("lab1", group), body)
    source = ObjectVersion(bucket=BUCKET, key=wrote.key, version=wrote.version)
    return admit(
        parse_submission(body, source),
        platform=platform or a_platform(),
        cloud=cloud,
        digest=lambda analysis: {"pca": "d1"}[analysis],
        now=now,
        version=lambda _, analysis: f"{analysis}-version",
    )


def refusal(cloud: FakeCloud, **fields: Any) -> str:
    with pytest.raises(SubmissionError) as caught:
        run(cloud, **fields)
    return caught.value.reason


def with_blueprint(**changes: Any) -> Platform:
    return a_platform(a_blueprint(**changes))


def test_a_good_submission_becomes_a_job_with_everything_its_life_needs(cloud: FakeCloud) -> None:
    admission = run(cloud, dataname=["lab1/inputs/a.npy", "lab1/inputs/folder/"])
    job = admission.job
    head = cloud.head(BUCKET, "lab1/inputs/a.npy")
    assert head is not None
    assert job.tasks == (
        Task(number=0, dataset="lab1/inputs/a.npy", size=100, version=head.etag),
        Task(number=1, dataset="lab1/inputs/folder/", size=15, version=""),
    )
    assert job.parameters == {"n_components": 3, "whiten": False, "solver": "full"}
    assert job.hardware == Hardware(
        instance_type="m5.large",
        region="us-east-1",
        image=cloud.find_image("d1") or "",
        volume_gb=20,
        hourly_price=Decimal("0.096"),
    )
    assert job.program == Program(
        iae="d1",
        command=("venv/bin/python", "files/run.py"),
        result_limit_bytes=100 * 10**9,
        log_limit_bytes=100 * 10**6,
    )
    assert (job.analysis, job.analysis_version, job.group, job.timestamp) == ("pca", "pca-version", "lab1", "t1")
    assert job.results.root == "lab1/results/job_mice_demo-pca_t1/"
    assert job.duration_s == 600
    assert [way.instance_type for way in job.ways] == ["m5.large", "m5.xlarge"]
    # 2 machines x (10 + 30) minutes x 0.192 USD an hour: the dearest it may get, and the time to come and to go
    assert admission.bound == Decimal("0.2560")
    assert admission.vcpus == 8
    assert admission.notes == (
        (
            "Runs on 2 m5.large (or m5.xlarge, when AWS has none) for at most 10 minutes and at most 0.0640 USD; "
            "0.2560 USD are reserved, because machines may take 30 minutes to come and go."
        ),
    )


def test_a_job_is_the_same_however_often_it_is_admitted_and_another_when_uploaded_again(cloud: FakeCloud) -> None:
    first = run(cloud)
    assert first.job.id.startswith("pca-")
    assert run(cloud).job.id != first.job.id


def test_it_counts_from_the_upload_as_long_as_s3_tells(cloud: FakeCloud) -> None:
    job = run(cloud).job
    head = cloud.head(BUCKET, KEY)
    assert head is not None
    assert job.submitted == head.modified < NOW
    before = START - timedelta(days=1)
    assert run(cloud, now=before).job.submitted == before


def test_the_platforms_parameters_are_taken_out_and_obeyed(cloud: FakeCloud) -> None:
    admission = run(
        cloud, config="__duration__: 120\n__dataset_size__: 50\nn_components: 1\n", instance_type="m5.xlarge"
    )
    assert admission.job.duration_s == 7200
    assert admission.job.hardware.volume_gb == 80
    assert admission.job.hardware.instance_type == "m5.xlarge"
    assert admission.job.parameters == {"n_components": 1, "whiten": False, "solver": "full"}
    assert admission.bound == Decimal("0.4800")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("n_components: three", 'n_components is "three", but must be a whole number from 1 to 1000.'),
        ("n_components: 0", "n_components is 0, but must be a whole number from 1 to 1000."),
        ("n_components: 1000000000", "n_components is 1000000000, but must be a whole number from 1 to 1000."),
        ("n_components: true", "n_components is true, but must be a whole number from 1 to 1000."),
        ("n_components:", "n_components is null, but must be a whole number from 1 to 1000."),
        ("n_component: 3", "n_component is not a parameter of this analysis. Did you mean 'n_components'?"),
        (
            "colour: red",
            "colour is not a parameter of this analysis. Known here: filter, n_components, solver, whiten.",
        ),
        ("solver: ful", 'solver is "ful", but must be one of "full", "arpack".'),
        ("filter: {low: 0}", "filter.low is 0, but must be a number greater than 0."),
        ("filter: {}", "filter.low is missing; it must be a number greater than 0."),
        ("filter: {low: 1, high: 2}", "filter.high is not a parameter of this analysis. Known here: low, order."),
        ("filter: 3", "filter is 3, but must be a group of parameters."),
        ("__duration__: 0", "__duration__ is 0, but must be a whole number of minutes from 1 to 120."),
        ("__duration__: 121", "__duration__ is 121, but must be a whole number of minutes from 1 to 120."),
        ("__duration__: '60'", '__duration__ is "60", but must be a whole number of minutes from 1 to 120.'),
        ("__duration__: yes", "__duration__ is true, but must be a whole number of minutes from 1 to 120."),
        ("__dataset_size__: 1.5", "__dataset_size__ is 1.5, but must be a whole number of GB from 0 to 16000."),
        ("__dataset_size__: -1", "__dataset_size__ is -1, but must be a whole number of GB from 0 to 16000."),
        ("__duratoin__: 5", "__duratoin__ is not a parameter of the platform. Did you mean '__duration__'?"),
        (
            "n_components: 3\n- x",
            "The config file c.yaml is not valid YAML: expected <block end>, but found '-' in line 2, column 1.",
        ),
    ],
)
def test_a_wrong_parameter_has_its_sentence(cloud: FakeCloud, config: str, sentence: str) -> None:
    assert refusal(cloud, config=config) == sentence


def test_everything_wrong_is_said_at_once(cloud: FakeCloud) -> None:
    told = refusal(cloud, config="__duration__: 0\nn_components: three\nwhiten: 3\n")
    assert told.count("but must be") == 3


def test_groups_of_parameters_have_defaults_too(cloud: FakeCloud) -> None:
    assert run(cloud, config="filter: {low: 0.5}").job.parameters["filter"] == {"low": 0.5, "order": 4}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataname": "lab1/inputs/b.npy"}, "\"lab1/inputs/b.npy\" does not exist. Did you mean 'a.npy'?"),
        ({"dataname": "lab1/results/zzz.npy"}, '"lab1/results/zzz.npy" does not exist. Upload it before'),
        ({"dataname": "lab1/inputs/a.tif"}, "its name must end in .npy"),
        ({"dataname": "lab1/inputs/gone/"}, 'The folder "lab1/inputs/gone/" does not exist or is empty.'),
        ({"dataname": "lab1/inputs/empty.npy"}, '"lab1/inputs/empty.npy" is empty (0 bytes).'),
        ({"dataname": "lab1/inputs/nothing/"}, 'The folder "lab1/inputs/nothing/" does not exist or is empty.'),
        ({"configname": "lab1/configs/x.yaml"}, 'The config file "lab1/configs/x.yaml" does not exist.'),
        ({"configname": "lab1/inputs/a.npy"}, "must end in .yaml, .yml or .json"),
        ({"instance_type": "p3.2xlarge"}, 'instance_type is "p3.2xlarge", but pca runs only on m5.large, m5.xlarge.'),
        (
            {"dataname": [f"lab1/inputs/{n}.npy" for n in range(4)]},
            "has 4 datasets, but a job of pca may use at most 3",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_way_out(cloud: FakeCloud, fields: dict[str, Any], words: str) -> None:
    cloud.write(BUCKET, "lab1/inputs/empty.npy", b"")
    cloud.write(BUCKET, "lab1/inputs/nothing/", b"")
    assert words in refusal(cloud, **fields)


def test_a_folder_named_without_its_slash_is_recognised(cloud: FakeCloud) -> None:
    platform = with_blueprint(inputs=Inputs())
    told = refusal(cloud, platform=platform, dataname="lab1/inputs/folder")
    assert told == '"lab1/inputs/folder" is a folder: write it with a slash at the end, "lab1/inputs/folder/".'
    assert "takes only files" in refusal(cloud, platform=platform, dataname="lab1/inputs/folder/")


def test_all_bad_datasets_are_named_at_once(cloud: FakeCloud) -> None:
    told = refusal(cloud, dataname=["lab1/inputs/x.npy", "lab1/inputs/a.npy", "lab1/inputs/y.tif"])
    assert "x.npy" in told
    assert "y.tif" in told
    assert "a.npy" in told  # as the suggestion
    many = [f"lab1/inputs/{n}.tif" for n in range(12)]
    platform = with_blueprint(limits=Limits(instances=20, cost=Decimal(99)))
    assert refusal(cloud, platform=platform, dataname=many).endswith("And 2 more.")


def test_suffixes_are_compared_without_case_and_sizes_are_bounded(cloud: FakeCloud) -> None:
    cloud.write(BUCKET, "lab1/inputs/B.NPY", b"x" * 2000)
    assert run(cloud, dataname="lab1/inputs/B.NPY").job.tasks[0].size == 2000
    small = with_blueprint(inputs=Inputs(suffixes=(".npy",), max_bytes=1999))
    assert "at most 1.999e-06 GB are accepted" in refusal(cloud, platform=small, dataname="lab1/inputs/B.NPY")


def test_a_group_must_exist_have_opted_in_and_be_admitted(cloud: FakeCloud) -> None:
    for group, platform, words in (
        ("lab3", a_platform(), 'has no group "lab3"'),
        ("lab2", a_platform(), "Its owner must add pca to the group's analyses"),
        ("lab1", with_blueprint(**PRIVATE), "its developer must name the group"),
    ):
        with pytest.raises(AccessError, match="lab") as caught:
            run(cloud, group=group, platform=platform)
        assert words in caught.value.reason


def test_a_draft_and_a_strange_bucket_run_nothing(cloud: FakeCloud) -> None:
    draft = with_blueprint(stage=Stage.DRAFT, access=Access(groups=("lab1",)))
    assert "is a draft" in refusal(cloud, platform=draft)
    assert "belongs to no analysis" in refusal(cloud, platform=with_blueprint(bucket="elsewhere"))


def test_a_job_may_not_cost_more_than_its_blueprint_allows(cloud: FakeCloud) -> None:
    platform = with_blueprint(limits=Limits(duration_s=600, max_duration_s=7200, instances=3, cost=Decimal("0.19")))
    told = refusal(cloud, platform=platform, config="__duration__: 120", instance_type="m5.large")
    assert "may cost up to 0.1920 USD (1 machine, 120 minutes at 0.0960 USD an hour)" in told
    bound = run(cloud, platform=platform, config="__duration__: 118", instance_type="m5.large").bound
    assert bound == Decimal("0.2368")  # the 30 minutes of coming and going are reserved, and not held against the limit


def test_parameters_that_no_machine_could_be_told_are_refused_before_anything_is_spent(cloud: FakeCloud) -> None:
    properties = {"table": {"type": "array", "items": {"type": "string"}}}
    platform = with_blueprint(parameters={"type": "object", "properties": properties, "additionalProperties": False})
    told = refusal(cloud, platform=platform, config=json.dumps({"table": ["x" * 70] * 200}))
    assert "The parameters of this job are too large" in told
    assert "Put large tables into the dataset" in told
    job = run(cloud, platform=platform, config=json.dumps({"table": ["x" * 70] * 40})).job
    agent = Agent(url="https://demo-platform.s3.amazonaws.com/" + "x" * 2000, sha256="0" * 64)
    render_user_data(task_manifest(job, job.tasks[0], NOW), agent=agent, deadline=NOW)


OUTSIDE = {"dataname": "s3://own-one/a.npy", "configname": "s3://own-one/c.yaml", "resultpath": "s3://own-one/r"}


def test_storage_of_ones_own_must_be_registered(cloud: FakeCloud) -> None:
    told = refusal(cloud, **OUTSIDE)
    assert "own-one, which is not registered for lab1 (registered: none)" in told
    assert "storage.outside_buckets" in told
    assert "upload the data to lab1/inputs/ in the bucket demo-pca" in told


def test_a_job_on_registered_storage_reads_and_writes_only_there_and_is_paid_for_alike(cloud: FakeCloud) -> None:
    platform = a_platform()
    group = replace(platform.groups["lab1"], storage=Storage(outside_buckets=("own-one",)))
    platform = replace(platform, groups={**platform.groups, "lab1": group})
    cloud.make_bucket("own-one")
    cloud.write("own-one", "a.npy", b"x" * 7)
    assert "c.yaml" in refusal(cloud, platform=platform, **OUTSIDE)
    cloud.write("own-one", "c.yaml", b"n_components: 5\n")
    admission = run(cloud, platform=platform, **OUTSIDE)
    job = admission.job
    assert (job.data_bucket, job.results.bucket, job.results.root) == ("own-one", "own-one", "r/job_mice_demo-pca_t1/")
    assert job.tasks[0].size == 7
    assert job.parameters["n_components"] == 5
    assert admission.bound == run(cloud).bound


def test_what_would_wait_for_ever_is_refused(cloud: FakeCloud) -> None:
    two = ["lab1/inputs/a.npy", "lab1/inputs/folder/"]
    for limits, words in (
        (PlatformLimits(instances=1), "needs 2 instances at once, but the platform may use at most 1"),
        (PlatformLimits(group_instances=1), "needs 2 instances at once, but the group lab1 may use at most 1"),
        (PlatformLimits(vcpus=7), "needs 8 vCPUs at once, but the platform may use at most 7"),
    ):
        platform = a_platform()
        platform = replace(platform, deployment=replace(platform.deployment, limits=limits))
        assert words in refusal(cloud, platform=platform, dataname=two)


def limited(platform: Platform, **quotas: RegionQuotas) -> Platform:
    limits = PlatformLimits(vcpus={name.replace("_", "-"): given for name, given in quotas.items()})
    return replace(platform, deployment=replace(platform.deployment, limits=limits))


def test_a_job_larger_than_each_quota_is_refused_with_the_way_out_before_it_costs_anything(cloud: FakeCloud) -> None:
    small = RegionQuotas(on_demand={Family.STANDARD: 3})
    two = ["lab1/inputs/a.npy", "lab1/inputs/folder/"]
    assert refusal(cloud, platform=limited(a_platform(), us_east_1=small), dataname=two) == (
        "The job would need more at once than the platform may use: m5.large, 4 vCPUs of us-east-1, Standard on "
        "demand, of which 3 are there; m5.xlarge, 8 vCPUs of us-east-1, Standard on demand, of which 3 are there. "
        "Submit at most 1 dataset at a time, or have limits.vcpus of mayfly.yaml raised."
    )
    none = RegionQuotas(on_demand={Family.STANDARD: 1})
    assert "are there. Have limits.vcpus" in refusal(cloud, platform=limited(a_platform(), elsewhere=none))


def test_a_way_that_no_quota_holds_is_left_out_and_that_is_said(cloud: FakeCloud) -> None:
    resources = (
        Choice(instance_type="g5.xlarge", volume_gb=90),
        Choice(instance_type="m5.large", price=Price.SAVE, volume_gb=20),
    )
    quotas = RegionQuotas(on_demand={Family.G: 0, Family.STANDARD: 4}, spot={Family.STANDARD: 2})
    platform = limited(with_blueprint(resources=resources), us_east_1=quotas)
    admission = run(cloud, platform=platform, config="__duration__: 10")
    assert [(way.instance_type, way.spot) for way in admission.job.ways] == [("m5.large", True), ("m5.large", False)]
    assert (admission.job.hardware.instance_type, admission.job.hardware.volume_gb) == ("m5.large", 20)
    spot, standard = (Need(family=Family.STANDARD, spot=spot, vcpus=2) for spot in (True, False))
    assert admission.needs == (spot, standard)
    (note,) = admission.notes[1:]
    assert note == (
        "Not tried, because the job would need more than the platform may use: g5.xlarge, 4 vCPUs of us-east-1, G and "
        "VT on demand, of which 0 are there."
    )
    two = ["lab1/inputs/a.npy", "lab1/inputs/folder/"]
    assert run(cloud, platform=platform, config="__duration__: 10", dataname=two).needs == (standard,)


def test_where_one_region_has_no_room_the_next_one_of_the_bank_is_taken(cloud: FakeCloud) -> None:
    resources = (Choice(instance_type="g5.xlarge", region="us-west-2"), Choice(instance_type="g5.xlarge"))
    platform = limited(with_blueprint(resources=resources), us_west_2=RegionQuotas(on_demand={Family.G: 0}))
    assert run(cloud, platform=platform).job.hardware.region == "us-east-1"


def test_a_region_without_a_list_is_reckoned_with_care_and_that_is_said(cloud: FakeCloud) -> None:
    there = with_blueprint(resources=(Choice(instance_type="m5.large", region="eu-west-1"),))
    admission = run(cloud, platform=there)
    assert admission.job.hardware.hourly_price == admission.job.ways[0].hourly_price == Decimal("0.192")
    assert admission.bound == Decimal("0.1280")
    assert admission.notes[1] == (
        "The price of m5.large in eu-west-1 is estimated: 0.192 USD an hour, 2 times that of us-east-1. What the job "
        "costs is reckoned with it, and probably less."
    )
    own = replace(there.deployment, prices={"eu-west-1": {"m5.large": Decimal("0.107")}})
    priced = run(cloud, platform=replace(there, deployment=own))
    assert priced.job.ways[0].hourly_price == Decimal("0.107")
    assert len(priced.notes) == 1


def test_without_its_software_nothing_runs_and_the_user_is_not_blamed(cloud: FakeCloud) -> None:
    cloud.store.images.clear()
    told = refusal(cloud)
    assert "Nothing is wrong with your submission" in told
    assert "mayfly iae build pca" in told


def test_on_aws_a_baked_image_comes_first(cloud: FakeCloud) -> None:
    baked = run(cloud, platform=a_platform(cloud=CloudKind.AWS)).job
    assert (baked.hardware.image, baked.program.iae) == ("ami-baked", "")
    elsewhere = a_platform(
        a_blueprint(resources=(Choice(instance_type="m5.large", region="eu-west-1"),)), cloud=CloudKind.AWS
    )
    built = run(cloud, platform=elsewhere).job
    assert (built.hardware.image, built.hardware.region, built.program.iae) == (
        cloud.find_image("d1"),
        "eu-west-1",
        "d1",
    )


def test_a_volume_ends_somewhere(cloud: FakeCloud) -> None:
    large: Blueprint = a_blueprint(resources=(Choice(instance_type="m5.large", volume_gb=500),))
    assert "no volume may have more than 16384 GB" in refusal(
        cloud, platform=a_platform(large), config="__dataset_size__: 16000"
    )


def test_a_retiring_machine_is_mentioned(cloud: FakeCloud) -> None:
    old = with_blueprint(resources=(Choice(instance_type="p2.xlarge"),))
    assert any("p2.xlarge" in note and "succeeds it" in note for note in run(cloud, platform=old).notes)


@pytest.mark.parametrize("method", ["head", "read", "find_image"])
def test_when_the_cloud_fails_nobody_is_refused(cloud: FakeCloud, method: str) -> None:
    cloud.fail_next(method, CloudError("down", service="s3", code="SlowDown", retryable=True))
    with pytest.raises(CloudError, match="down"):
        run(cloud)


def test_a_config_that_may_not_be_read_is_not_called_missing(cloud: FakeCloud) -> None:
    cloud.fail_next("read", CloudError("no", service="s3", code="AccessDenied"))
    with pytest.raises(CloudError, match="no"):
        run(cloud)
