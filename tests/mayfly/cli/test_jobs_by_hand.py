"""What operators do to jobs by hand, each through the command line, a real ledger and AWS's own interfaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from mayfly.cli.context import Home
from mayfly.cli.main import run
from runner.cloud import AwsCloud, CloudSettings
from runner.cloud_values import DEADLINE_TAG, DEPLOYMENT_TAG, JOB_TAG, LeftoverKind
from runner.signing import open_signer
from state.chronicle import Chronicle, Outcome, TaskEnding
from state.database import sqlite_url
from state.errors import CloudError, JobError, StateError
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from tests.fakes.jobs import NOW, a_job, a_source
from tests.fakes.moto_cloud import forget, moto_server

pytestmark = pytest.mark.cloud
JOB = a_job(datasets=2)
FILES = {
    "mayfly.yaml": 'name: demo\naccount: "123456789012"\nregion: us-east-1\n',
    "users/lab1.yaml": "id: lab1\ntitle: One\nanalyses: [pca]\nbudget: {amount: 20}\n",
    "blueprints/pca/blueprint.yaml": (
        "id: pca\ntitle: PCA\nstage: public\nresources: [{instance_type: t3.small}]\n"
        "limits: {duration: 5, cost: 5}\ninputs: {suffixes: [.npy]}\n"
    ),
    "blueprints/pca/environment/requirements.lock": "",
    "blueprints/pca/environment/run.py": "",
}


@pytest.fixture(scope="module")
def moto() -> Iterator[CloudSettings]:
    with moto_server() as settings:
        yield settings


@dataclass
class Desk:
    """An operator at a project whose embedded cloud runs, with one job of two datasets."""

    project: Path
    ledger: Ledger
    cloud: AwsCloud
    output: pytest.CaptureFixture[str]

    def mayfly(self, *arguments: str) -> tuple[int, str]:
        """Return the exit status of a command, and what it said."""
        status = run(["--project", str(self.project), *arguments])
        said = self.output.readouterr()
        return status, said.out + said.err

    def end(self, status: JobStatus) -> None:
        for one in (JobStatus.PROVISIONING, JobStatus.RUNNING):
            self.ledger.advance(JOB.id, one, NOW)
        self.ledger.conclude(JOB.id, Ending(status=status, reason="so it was"), NOW)
        self.ledger.settle(JOB.id, NOW)
        self.ledger.finish(JOB.id, NOW)


@pytest.fixture
def desk(tmp_path: Path, moto: CloudSettings, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    home = Home(folder=tmp_path / ".mayfly" / "main")
    forget(moto)
    home.cloud.mkdir(parents=True)
    home.cloud_file.write_text(json.dumps(asdict(moto)))
    ledger = open_ledger(sqlite_url(home.ledger))
    ledger.admit(JOB, source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None, at=NOW, enqueue=lambda _: None)
    cloud = AwsCloud(moto)
    cloud._s3.create_bucket(Bucket="demo-pca")
    cloud._s3.create_bucket(Bucket="demo-platform")
    with home.locked():
        yield Desk(project=tmp_path, ledger=ledger, cloud=cloud, output=capsys)
    ledger.engine.dispose()


def test_cancel_asks_for_an_end_with_its_reason_and_refuses_what_is_over(desk: Desk) -> None:
    status, said = desk.mayfly("cancel", JOB.id[:8], "--reason", "wrong mouse")
    assert status == 0
    assert f"Job {JOB.id} will be stopped" in said
    wish = desk.ledger.stop_request(JOB.id)
    assert wish is not None
    assert wish.ending.status is JobStatus.CANCELLED
    assert "wrong mouse" in wish.ending.reason
    desk.end(JobStatus.CANCELLED)
    status, said = desk.mayfly("cancel", JOB.id)
    assert status == JobError.exit_code
    assert "is over already: cancelled" in said


def test_retry_submits_only_what_failed_and_nothing_while_the_job_runs(desk: Desk) -> None:
    status, said = desk.mayfly("retry", JOB.id)
    assert status == JobError.exit_code
    assert "it can be retried when it has ended" in said
    book = Chronicle(desk.ledger.engine)
    book.end_task(JOB.id, Outcome(task=0, ending=TaskEnding.SUCCEEDED, reason=""))
    book.end_task(JOB.id, Outcome(task=1, ending=TaskEnding.FAILED, reason="upside down"))
    desk.end(JobStatus.FAILED)
    for options, wanted in ((["--failed"], [JOB.tasks[1].dataset]), ([], [one.dataset for one in JOB.tasks])):
        status, said = desk.mayfly("retry", JOB.id, *options)
        assert status == 0, said
        key = said.partition("submitted again: ")[2].splitlines()[0]
        submitted = json.loads(desk.cloud.read("demo-pca", key))
        assert submitted["dataname"] == wanted
        assert submitted["configname"] == JOB.config
        assert submitted["timestamp"] != JOB.timestamp


def start_machine(desk: Desk, job: str, *, protected: bool = False, **more: str) -> str:
    """Start a machine whose deadline has passed long ago; return its id."""
    tags = {DEPLOYMENT_TAG: "demo", JOB_TAG: job, DEADLINE_TAG: "2020-01-01T00:00:00+00:00", **more}
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    made = desk.cloud._ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}],
    )
    machine = str(made["Instances"][0]["InstanceId"])
    if protected:
        desk.cloud._ec2.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": True})
    return machine


def machines(desk: Desk) -> set[str]:
    found = desk.cloud.leftovers(deployment="demo")
    return {one.id for one in found if one.kind is LeftoverKind.INSTANCE}


@pytest.mark.slow  # it looks twice, with five seconds in between
def test_reap_shows_first_and_then_removes_what_no_job_needs_but_nothing_exempt(desk: Desk) -> None:
    stray, exempt = start_machine(desk, "pca-gone"), start_machine(desk, "pca-kept", **{"mayfly:exempt": "yes"})
    status, said = desk.mayfly("reap", "--dry-run")
    assert status == 0
    assert stray in said
    assert exempt not in said
    assert machines(desk) == {stray, exempt}
    status, said = desk.mayfly("reap")
    assert status == 0
    assert f"removed instance {stray} of job pca-gone" in said
    assert machines(desk) == {exempt}
    assert "Nothing is left behind." in desk.mayfly("reap")[1]


def test_what_refuses_to_go_is_said_after_all_else_has_gone(desk: Desk) -> None:
    held, free = start_machine(desk, "pca-held", protected=True), start_machine(desk, "pca-gone")
    status, said = desk.mayfly("reap")
    assert status == CloudError.exit_code
    assert f"removed instance {free} of job pca-gone" in said
    assert f"Removing instance {held} failed: OperationNotPermitted" in said
    assert machines(desk) == {held}


def test_abandon_stops_the_job_and_writes_down_why(desk: Desk) -> None:
    status, said = desk.mayfly("abandon", JOB.id)
    assert status != 0
    assert "--reason" in said
    status, said = desk.mayfly("abandon", JOB.id, "--reason", "AWS does not let the disk go")
    assert status == 0
    assert "ends without what cannot be removed" in said
    assert Chronicle(desk.ledger.engine).facts(JOB.id)["abandoned"]["reason"] == "AWS does not let the disk go"
    wish = desk.ledger.stop_request(JOB.id)
    assert wish is not None
    assert "abandoned: AWS does not let the disk go" in wish.ending.reason
    desk.end(JobStatus.CANCELLED)
    status, said = desk.mayfly("abandon", JOB.id, "--reason", "again")
    assert status == JobError.exit_code


def test_a_certificate_verifies_by_file_and_by_job_until_a_letter_is_changed(desk: Desk) -> None:
    facts = {"job": JOB.id, "group": "lab1", "written": "2026-11-22", "ending": {"status": "done"}, "cost_usd": "0.10"}
    signed = open_signer(desk.project / ".mayfly" / "main" / "keys").sign(facts)
    file = desk.project / "certificate.json"
    file.write_text(json.dumps(signed))
    desk.cloud.write("demo-pca", JOB.results.certificate_json, json.dumps(signed).encode())
    for subject in (str(file), JOB.id):
        status, said = desk.mayfly("certificate", "verify", subject)
        assert status == 0, said
        assert f"Good: job {JOB.id} of lab1, done." in said
    file.write_text(json.dumps({**signed, "cost_usd": "0.01"}))
    status, said = desk.mayfly("certificate", "verify", str(file))
    assert status == StateError.exit_code
    assert "Good" not in said
