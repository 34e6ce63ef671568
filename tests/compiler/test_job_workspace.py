"""A job's workspace: structure in HCL, everything else as data that comes out as it went in."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.deployment import CloudKind, Deployment, Network
from compiler.job import Agent, iso, render_user_data, render_workspace, task_manifest
from state.chronicle import Attempt
from state.errors import JobError, Place
from state.job import Job, Offer, Task
from tests.compiler.golden import assert_golden
from tests.fakes.jobs import NOW, a_job

DEPLOYMENT = Deployment(
    name="demo", account="123456789012", region="us-east-1", tags={"project": "p"}, place=Place(file="mayfly.yaml")
)
AGENT = Agent(url="http://127.0.0.1:4566/demo-platform/agent/x.pyz?X-Amz-Signature=a%20b&c='d'", sha256="ab" * 32)
MODULE = {"main.tf": "# the module job\n", "variables.tf": "# variables\n"}
DEADLINE = NOW + timedelta(hours=1)


def render(job: Job, deployment: Deployment = DEPLOYMENT, **changes: Any) -> dict[str, str]:
    given = {"agent": AGENT, "deadline": DEADLINE, "module": MODULE, "lock": "# lock\n", "backend": "local", **changes}
    return render_workspace(job, deployment=deployment, **given)


def values_of(files: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(files["job.auto.tfvars.json"])
    return values


def unpack(user_data: str | bytes) -> dict[str, Any]:
    """Return the manifest that a bootstrap script carries."""
    script = base64.b64decode(user_data) if isinstance(user_data, str) else user_data
    found = re.search(rb"^manifest=([A-Za-z0-9+/=]+)$", script, re.MULTILINE)
    assert found
    manifest: dict[str, Any] = json.loads(base64.b64decode(found[1]))
    return manifest


def test_the_workspace_is_what_was_reviewed() -> None:
    files = render(a_job(datasets=2))
    script = base64.b64decode(values_of(files)["tasks"]["1"]["user_data"]).decode()
    assert_golden("job", {**files, "user_data_of_task_1.sh": script})


def test_it_is_self_contained_and_the_same_every_time() -> None:
    job = a_job(datasets=2)
    files = render(job)
    assert set(files) == {
        "main.tf", "job.auto.tfvars.json", ".terraform.lock.hcl", "module/main.tf", "module/variables.tf"
    }  # fmt: skip
    assert files == render(job)
    assert files["module/main.tf"] == MODULE["main.tf"]
    assert files[".terraform.lock.hcl"] == "# lock\n"


def test_only_a_shared_state_has_a_backend_block() -> None:
    assert "backend" not in render(a_job())["main.tf"]
    assert '  backend "s3" {}\n' in render(a_job(), backend="s3")["main.tf"]


def test_the_values_say_who_what_where_and_until_when() -> None:
    values = values_of(render(a_job(datasets=2)))
    tasks = values.pop("tasks")
    assert values == {
        "deployment": "demo",
        "region": "us-east-1",
        "tags": {"project": "p"},
        "job": "pca-000000000000",
        "group": "lab1",
        "analysis": "pca",
        "version_id": "v1",
        "deadline": "2026-11-22T13:00:00Z",
        "image": "ami-1",
        "instance_type": "m5.large",
        "volume_gb": 20,
        "volume_type": "gp3",
        "volume_iops": None,
        "volume_throughput": None,
        "public_ip": False,
        "instance_profile": "demo-instance-lab1",
        "vpc_id": None,
        "subnet_id": None,
    }
    assert {number: task["name"] for number, task in tasks.items()} == {"0": "a.npy", "1": "b.npy"}


def test_a_public_address_only_where_there_is_no_other_way_out() -> None:
    on_aws = replace(DEPLOYMENT, cloud=CloudKind.AWS)
    own = replace(on_aws, network=Network(vpc="vpc-1", subnets=("subnet-1",)))
    assert [values_of(render(a_job(), d))["public_ip"] for d in (DEPLOYMENT, on_aws, own)] == [False, True, False]


@pytest.mark.parametrize("said", [True, False])
def test_a_public_address_on_aws_is_what_the_deployment_says(said: bool) -> None:
    for network in (Network(public_ip=said), Network(vpc="vpc-1", subnets=("subnet-1",), public_ip=said)):
        on_aws = replace(DEPLOYMENT, cloud=CloudKind.AWS, network=network)
        assert values_of(render(a_job(), on_aws))["public_ip"] is said
    assert values_of(render(a_job(), replace(DEPLOYMENT, network=Network(public_ip=said))))["public_ip"] is False


def test_the_volume_is_what_the_resource_bank_asks_for() -> None:
    job = a_job()
    fast = replace(job.hardware, volume_type="io2", volume_iops=16000)
    values = values_of(render(replace(job, hardware=fast)))
    assert (values["volume_type"], values["volume_iops"], values["volume_throughput"]) == ("io2", 16000, None)


def test_every_variable_of_the_workspace_is_given_and_passed_on() -> None:
    files = render(a_job())
    declared = set(re.findall(r'^variable "(\w+)"', files["main.tf"], re.MULTILINE))
    assert declared == values_of(files).keys()
    passed = set(re.findall(r"= var\.(\w+)$", files["main.tf"], re.MULTILINE))
    assert declared == passed


def test_jobs_are_spread_over_subnets_and_stay_where_they_are() -> None:
    network = replace(
        DEPLOYMENT, cloud=CloudKind.AWS, network=Network(vpc="vpc-1234", subnets=("subnet-a", "subnet-b"))
    )
    chosen = [values_of(render(a_job(n), network))["subnet_id"] for n in range(40)]
    assert set(chosen) == {"subnet-a", "subnet-b"}
    assert chosen == [values_of(render(a_job(n), network))["subnet_id"] for n in range(40)]
    assert values_of(render(a_job(), network))["vpc_id"] == "vpc-1234"


def test_the_manifest_is_complete() -> None:
    job = a_job(datasets=2)
    assert task_manifest(job, job.tasks[1], DEADLINE) == {
        "version": 1,
        "job": job.id,
        "task": 1,
        "group": "lab1",
        "analysis": "pca",
        "region": "us-east-1",
        "input": {"bucket": "demo-pca", "key": "lab1/inputs/b.npy", "version": "e1"},
        "config": {"bucket": "demo-pca", "key": "lab1/configs/c.yaml"},
        "parameters": {"n_components": 2, "deep": {"list": [1, 2.5, None, "x"]}},
        "results": {
            "bucket": "demo-pca",
            "folder": "lab1/results/job__demo-pca_t0/process_results/b.npy/",
            "status": "lab1/results/job__demo-pca_t0/logs/DATASET_NAME:b.npy_STATUS.txt",
            "report": "lab1/results/job__demo-pca_t0/logs/task-1.json",
            "log": "lab1/results/job__demo-pca_t0/logs/task-1.log",
            "live": "lab1/results/job__demo-pca_t0/logs/live/1/",
        },
        "command": ["venv/bin/python", "files/run.py"],
        "image_root": "/opt/iae",
        "iae": "d1",
        "time_limit_s": 3600,
        "deadline": "2026-11-22T13:00:00Z",
        "log_limit_bytes": 10**6,
        "result_limit_bytes": 10**9,
        "heartbeat_s": 2,
        "run": 0,
        "checkpoint": "lab1/results/job__demo-pca_t0/logs/checkpoint/1/",
        "platform": "lab1/results/job__demo-pca_t0/logs/platform.json",
        "silence_s": 3600,
        "keep_failed_s": 0,
    }


def test_a_new_try_stands_elsewhere_and_its_agent_knows_what_went_before() -> None:
    job = a_job(datasets=2)
    offer = Offer(instance_type="m6i.large", zone="us-east-1b", spot=True, hourly_price=Decimal("0.096"))
    again = Attempt(job=job.id, task=1, number=3, way=1, offer=offer, at=NOW, run=1)
    plain, moved = values_of(render(job, attempts={1: again}))["tasks"].values()
    assert plain == values_of(render(job))["tasks"]["0"]
    assert unpack(moved.pop("user_data"))["run"] == 1
    assert moved == {
        "name": "b.npy", "instance_type": "m6i.large", "zone": "us-east-1b", "spot": True, "max_price": "0.096"
    }  # fmt: skip


def test_with_subnets_of_ones_own_a_new_try_goes_to_the_next_one() -> None:
    network = Network(vpc="vpc-1", subnets=("subnet-1", "subnet-2"))
    job, offer = a_job(), Offer(instance_type="m5.large", zone="us-east-1b", hourly_price=Decimal(1))
    again = Attempt(job=job.id, task=0, number=1, way=1, offer=offer, at=NOW, run=0)
    values = values_of(render(job, replace(DEPLOYMENT, network=network), attempts={0: again}))
    task = values["tasks"]["0"]
    assert {values["subnet_id"], task["subnet_id"]} == {"subnet-1", "subnet-2"}
    assert "zone" not in task


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "${1+1}",
        "%{if true}x%{endif}",
        "$(reboot)",
        "`id`",
        "'; rm -rf ~ #",
        "EOF",
        "PYTHON\n",
        '"\\',
        "a\nb\r\0\x1b",
        "@MANIFEST@",
    ]
)
ENCODABLE = HOSTILE.filter(lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ENCODABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ENCODABLE, inner, max_size=3),
    max_leaves=8,
)


@given(
    name=ENCODABLE.filter(lambda text: "/" not in text and text),
    parameters=st.dictionaries(ENCODABLE, JSON, max_size=4),
)
def test_user_text_comes_out_of_tfvars_and_manifest_unchanged(name: str, parameters: dict[str, Any]) -> None:
    plain = a_job()
    task = Task(number=0, dataset=f"lab1/inputs/{name}", size=1, version=name)
    files = render(replace(plain, tasks=(task,), parameters=parameters, timestamp=name))
    values = values_of(files)
    assert values["tasks"]["0"]["name"] == name
    manifest = unpack(values["tasks"]["0"]["user_data"])
    assert manifest["parameters"] == parameters
    assert manifest["input"] == {"bucket": "demo-pca", "key": f"lab1/inputs/{name}", "version": name}
    assert files["main.tf"] == render(plain)["main.tf"]


@given(url=ENCODABLE)
def test_the_script_holds_base64_and_nothing_else_of_what_is_given(url: str) -> None:
    job = a_job()
    manifest = task_manifest(job, job.tasks[0], DEADLINE)
    agent = Agent(url=url, sha256="ab" * 32)
    script = render_user_data(manifest, agent=agent, deadline=DEADLINE).decode()
    given_lines = [
        line for line in script.splitlines() if re.match(r"(deadline|agent_url|agent_sha256|manifest)=", line)
    ]
    assert len(given_lines) == 4
    assert all(re.fullmatch(r"[a-z0-9_]+=[A-Za-z0-9+/=]*", line) for line in given_lines)
    template = render_user_data(manifest, agent=AGENT, deadline=DEADLINE).decode()
    assert [a for a in script.splitlines() if a not in given_lines] == [
        b for b in template.splitlines() if not b.startswith(("deadline=", "agent_url=", "agent_sha256=", "manifest="))
    ]


def test_parameters_that_do_not_fit_are_refused_with_the_figure() -> None:
    job = replace(a_job(), parameters={"table": "x" * 20_000})
    with pytest.raises(
        JobError, match=r"at most 16384 bytes .* leaves about \d+ for them\. Put large tables"
    ) as caught:
        render(job)
    most = int(re.findall(r"about (\d+)", str(caught.value))[0])
    assert most > 5000
    render(replace(a_job(), parameters={"table": "x" * (most - 20)}))


def test_times_are_told_in_utc_and_whole_seconds() -> None:
    assert iso(NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-11-22T12:00:00Z"
    assert iso(NOW.replace(microsecond=999999)) == "2026-11-22T12:00:00Z"


def test_a_checksum_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="hex"):
        render(a_job(), agent=Agent(url="http://x", sha256="$(reboot)"))
