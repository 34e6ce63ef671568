"""What becomes of each task: its machine goes, its silence is diagnosed, its results are checked, its ending kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.cloud_values import Instance, LeftoverKind
from runner.diagnosis import diagnose
from runner.monitor import Signs
from runner.retry import submission_of, submit_again, tasks_to_retry
from runner.signing import open_signer, own_key, public_half, publish, published_key
from state.certificate import one_line
from state.chronicle import Tried
from state.errors import CloudError, EnvironmentMissingError, JobError, StateError, TerraformError
from state.job import Ending, JobStatus, Policy
from state.lease import Leases
from state.signature import verify
from tests.fakes.jobs import NOW, a_job
from tests.runner.stage import Stage


def listed(body: bytes) -> dict[str, Any]:
    crc = f"{zlib.crc32(body):08x}"
    return {"path": "x.npy", "size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "crc32": crc}


def silent(**changes: Any) -> Signs:
    machine = Instance(id="i-0", job="j", task=0, state="terminated", type="m5.large", launched=NOW)
    return replace(Signs(task=a_job().tasks[0], instance=machine, heard=NOW), **changes)


@pytest.mark.parametrize(
    ("console", "words"),
    [
        ("[ 12.3] Out of memory: Killed process 812 (python)", "ran out of memory"),
        ("bash: line 3: 812 Killed  python3", "was killed, most often for want of memory"),
        ("write error: No space left on device", "disk is full"),
        ("Kernel panic - not syncing: VFS: Unable to mount root fs", "did not boot"),
        ("user-data: line 30: python3: command not found", "no Python"),
        ("mayfly: the agent cannot be fetched: timed out", "could not fetch its agent"),
        ("mayfly: the platform was silent for 3600 seconds; shutting down", "no sign of life"),
        ("mayfly agent: status not written: s3://b/k: nothing answers", "lost its connection"),
        ("mayfly: the deadline has passed; shutting down", "at its deadline"),
    ],
)
def test_a_console_tells_why_a_machine_fell_silent(console: str, words: str) -> None:
    assert words in diagnose(silent(), f"boot\n{console}\nbye\n")


def test_without_a_console_the_last_status_and_ec2_tell() -> None:
    full = {"machine": {"memory_used": 97, "memory_total": 100, "disk_used": 1, "disk_total": 100}}
    assert "memory was almost full" in diagnose(silent(status=full), "")
    full = {"machine": {"memory_used": 1, "memory_total": 100, "disk_used": 99, "disk_total": 100}}
    assert "disk was almost full" in diagnose(silent(status=full), "")
    ended = silent().instance
    assert ended is not None
    by_hand = silent(instance=replace(ended, reason="Client.UserInitiatedShutdown: User initiated shutdown"))
    assert "somebody terminated" in diagnose(by_hand, "")
    assert "did not boot" in diagnose(silent(heard=None), "")
    assert "no agent started" in diagnose(silent(heard=None), "login:")
    assert "network is down" in diagnose(silent(instance=replace(ended, state="running")), "")


def test_the_diagnosis_is_the_reason_and_stays_when_the_machine_is_gone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=2))

    def act(number: int, machine: str) -> None:
        if number:
            stage.report(number)
        else:
            stage.cloud.say(machine, "Out of memory: Killed process 1 (python)")
            stage.cloud.end(machine, "Client.InstanceInitiatedShutdown")

    stage.on_machine = act
    assert stage.run() is JobStatus.FAILED
    assert "a.npy: instance" in stage.text(stage.job.results.end)
    assert "ran out of memory" in stage.text(stage.job.results.end)
    assert [one["ending"] for one in stage.certificate["datasets"]] == ["failed", "succeeded"]
    assert "ran out of memory" in stage.certificate["datasets"][0]["reason"]


def test_a_machine_that_reported_and_does_not_go_is_terminated_while_others_work(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=2))
    seen: dict[str, Any] = {}

    def act(number: int, machine: str) -> None:
        seen[str(number)] = machine
        if not number:
            stage.report(0)

    stage.on_machine = act
    stage.worker.prepare(stage.job.id)
    stage.worker.provision(stage.job.id)
    list_ = stage.cloud.list

    def pass_time_at_each_look(bucket: str, prefix: str) -> Any:
        stage.pass_time(20)
        if stage.cloud.store.machines[seen["0"]].is_gone:
            stage.report(1)
        return list_(bucket, prefix)

    stage.cloud.list = pass_time_at_each_look  # type: ignore[method-assign]
    job = stage.ledger.job(stage.job.id)
    ending = asyncio.run(stage.worker.monitor(job.id))
    assert ending.status is JobStatus.DONE
    story = [line.text for line in stage.ledger.story(stage.job.id)]
    assert any(f"terminated {seen['0']}, which did not turn itself off" in text for text in story)
    assert not any(f"terminated {seen['1']}" in text for text in story)


def test_a_blueprint_may_ask_that_one_failure_stops_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=3, policy=Policy(stop_on_failure=True)))
    stage.on_machine = lambda number, _: (
        stage.report(0, status="FAILED", ending="failed", reason="NaN") if not number else None
    )
    assert stage.run() is JobStatus.FAILED
    assert "2 datasets were stopped: the blueprint says so" in stage.text(stage.job.results.end)
    assert stage.left == []


@pytest.mark.parametrize(
    ("stored", "words"), [(b"124", "its checksum is another"), (b"12", "2 instead of 3 bytes"), (None, "x.npy")]
)
def test_results_that_are_not_what_the_agent_had_fail_the_job(tmp_path: Path, stored: bytes | None, words: str) -> None:
    stage = Stage(tmp_path, a_job())
    files = {} if stored is None else {"x.npy": stored}
    stage.on_machine = lambda number, _: stage.report(number, files=files, outputs=[listed(b"123")])
    assert stage.run() is JobStatus.FAILED
    assert words in stage.text(stage.job.results.end)
    assert stage.certificate["datasets"][0]["ending"] == "failed"


def test_where_the_store_keeps_no_checksum_small_files_are_read_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.cloud.checksum = lambda *_: None  # type: ignore[method-assign]
    stage.on_machine = lambda number, _: stage.report(number, files={"x.npy": b"124"}, outputs=[listed(b"123")])
    assert stage.run() is JobStatus.FAILED
    assert "its content is another" in stage.text(stage.job.results.end)


def test_the_certificate_states_what_went_in_and_came_out_and_is_signed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.on_machine = lambda number, _: stage.report(
        number, files={"x.npy": b"123"}, outputs=[listed(b"123")], input_sha256="ab" * 32
    )
    assert stage.run() is JobStatus.DONE
    facts = stage.certificate
    verify(facts, public_half(stage.signer))
    evidence = facts["evidence"]
    assert evidence["results"]["0"]["files"] == [listed(b"123")]
    assert evidence["results"]["0"]["input_sha256"] == "ab" * 32
    assert evidence["agent"] == {"sha256": "ab" * 32}
    assert set(evidence["workspace"]) == {
        ".terraform.lock.hcl", "job.auto.tfvars.json", "main.tf", "module/main.tf", "module/variables.tf"
    }  # fmt: skip
    assert evidence["providers"][0]["version"] == "5.100.0"
    assert evidence["apply/0"]["add"] == 1
    assert evidence["apply/0"]["planned"] == {"create": 1}
    assert "destroy" in evidence
    assert evidence["parameters"] == stage.job.parameters
    assert published_key(stage.cloud, "demo-platform", stage.signer.fingerprint) == public_half(stage.signer)
    for change in ({"cost_usd": "0"}, {"group": "lab2"}, {"extra": 1}):
        with pytest.raises(StateError, match="changed after it was signed"):
            verify({**facts, **change}, public_half(stage.signer))
    with pytest.raises(StateError, match="carries no Ed25519 signature"):
        verify({"job": "x"}, public_half(stage.signer))


def test_partial_results_are_kept_and_listed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    half = {"files": {"x.npy": b"1"}, "outputs": [listed(b"1")]}
    stage.on_machine = lambda number, _: stage.report(number, status="FAILED", ending="failed", reason="NaN", **half)
    assert stage.run() is JobStatus.FAILED
    found = stage.certificate["evidence"]["results"]["0"]
    assert (found["partial"], found["files"]) == (True, [listed(b"1")])


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first, again = open_signer(tmp_path / "keys"), open_signer(tmp_path / "keys")
    assert first.fingerprint == again.fingerprint
    assert (tmp_path / "keys" / "certificate.pem").stat().st_mode & 0o777 == 0o600
    assert own_key(tmp_path / "keys", first.fingerprint) == public_half(first)
    assert own_key(tmp_path / "keys", "0" * 32) is None
    assert own_key(tmp_path / "none", first.fingerprint) is None
    (tmp_path / "keys" / "certificate.pem").write_text("garbage")
    with pytest.raises(EnvironmentMissingError, match="cannot be used"):
        open_signer(tmp_path / "keys")


def test_a_bucket_that_is_not_there_does_not_cost_the_certificate(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    assert not publish(stage.cloud, "no-such-bucket", stage.signer)


def test_only_failed_datasets_are_done_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=3))
    stage.on_machine = lambda number, _: stage.report(
        number, **({"status": "FAILED", "ending": "failed", "reason": "NaN"} if number == 1 else {})
    )
    with pytest.raises(JobError, match="when it has ended"):
        tasks_to_retry(stage.ledger.job(stage.job.id), stage.chronicle, only_failed=True)
    stage.run()
    record = stage.ledger.job(stage.job.id)
    tasks = tasks_to_retry(record, stage.chronicle, only_failed=True)
    assert [task.number for task in tasks] == [1]
    assert len(tasks_to_retry(record, stage.chronicle, only_failed=False)) == 3
    key = submit_again(stage.cloud, stage.job, tasks, bucket="demo-pca", now=NOW)
    assert key == "lab1/submissions/t0-retry-20261122T120000000000Z/submit.json"
    assert json.loads(stage.text(key)) == {
        "dataname": ["lab1/inputs/b.npy"],
        "configname": "lab1/configs/c.yaml",
        "timestamp": "t0-retry-20261122T120000000000Z",
        "instance_type": "m5.large",
    }


def test_a_job_on_storage_of_ones_own_is_retried_there() -> None:
    job = a_job()
    body = submission_of(job, job.tasks, bucket="other", timestamp="t")
    assert body["dataname"] == ["s3://demo-pca/lab1/inputs/a.npy"]
    assert body["resultpath"] == "s3://demo-pca/lab1/results"


def test_what_was_abandoned_is_left_behind_and_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.on_machine = lambda number, _: stage.report(number)
    stuck = stage.cloud.leave(LeftoverKind.VOLUME, deployment="demo", job=stage.job.id)
    stage.chronicle.note(stage.job.id, "abandoned", {"reason": "AWS case 123", "at": NOW.isoformat()})
    held = CloudError("in use", service="ec2", code="VolumeInUse", retryable=True)
    remove = stage.cloud.remove

    def refuse(one: Any) -> None:
        if one.id == stuck:
            raise held
        remove(one)

    stage.cloud.remove = refuse  # type: ignore[method-assign]
    stage.worker.prepare(stage.job.id)
    stage.worker.destroy(stage.job.id, Ending(status=JobStatus.CANCELLED, reason="abandoned"))
    stage.worker.settle(stage.job.id)
    stage.worker.certify(stage.job.id)
    assert stage.certificate["evidence"]["left behind"] == [f"volume {stuck}"]
    assert "LEFT BEHIND, because it was abandoned (AWS case 123)" in one_line(stage.text(stage.job.results.certificate))


LOCKED = TerraformError(
    "locked",
    command="apply",
    diagnostics=[
        "Error acquiring the state lock: Lock Info:\n  ID:        9db590f1-b6fe-c5f2-2678-8804f089deba\n  Who: w"
    ],
)


def test_a_lock_is_broken_only_when_the_lease_of_its_holder_is_dead(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.on_machine = lambda number, _: stage.report(number)
    Leases(stage.ledger.engine).beat(f"terraform/{stage.job.id}/other-worker", NOW)
    stage.terraform.fail("apply", LOCKED, LOCKED)
    assert stage.run() is JobStatus.DONE
    assert stage.now - NOW >= timedelta(seconds=60)  # the other one was given its time
    unlocked = [call.options["lock"] for call in stage.terraform.calls if call.command == "force-unlock"]
    assert unlocked == ["9db590f1-b6fe-c5f2-2678-8804f089deba"]
    story = " ".join(line.text for line in stage.ledger.story(stage.job.id))
    assert "waiting for the Terraform of other-worker" in story
    assert "broke the lock" in story
    assert stage.chronicle.current(stage.job.id)[0].outcome is Tried.STARTED


def test_a_destroy_says_that_it_lives_for_as_long_as_it_holds_the_lock(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    stage.on_machine = lambda number, _: stage.report(number)
    leases, lived = Leases(stage.ledger.engine), threading.Event()
    mine, destroy = f"terraform/{stage.job.id}/{stage.worker.shop.name}", stage.terraform.on_destroy

    def slow(root: Path) -> None:
        pause = threading.Event()
        for _ in range(6000):
            if mine in leases.holders(stage.now - timedelta(seconds=1)):  # what the apply said is older
                lived.set()
                break
            pause.wait(0.01)
        if destroy:
            destroy(root)

    stage.terraform.on_destroy = slow
    leases.beat("another-worker", NOW)
    assert stage.run() is JobStatus.DONE
    assert lived.is_set()
    assert leases.holders(NOW - timedelta(days=1)) == {"another-worker"}  # and nothing of it stays


def test_many_results_are_compared_side_by_side(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job())
    names = [f"{number}.npy" for number in range(60)]
    outputs = [listed(b"123") | {"path": name} for name in names]
    stage.on_machine = lambda number, _: stage.report(number, files=dict.fromkeys(names, b"123"), outputs=outputs)
    together, checksum = threading.Barrier(20), stage.cloud.checksum

    def slow(bucket: str, key: str) -> str | None:
        together.wait(60)  # breaks unless twenty are asked for at once
        return checksum(bucket, key)

    stage.cloud.checksum = slow  # type: ignore[method-assign]
    assert stage.run() is JobStatus.DONE


def test_a_task_that_could_not_send_its_log_has_one_all_the_same(tmp_path: Path) -> None:
    stage = Stage(tmp_path, a_job(datasets=2))
    keys = stage.job.results

    def act(number: int, machine: str) -> None:
        for chunk in range(1, 12):
            stage.cloud.write("demo-pca", keys.live(number, chunk), f"line {chunk}\n".encode())
        if number:
            stage.cloud.end(machine)  # killed
        else:
            stage.cloud.write("demo-pca", keys.log(0), b"whole\n")
            stage.report(0)

    stage.on_machine = act
    stage.run()
    assert stage.text(keys.log(0)) == "whole\n"
    lines = stage.text(keys.log(1)).splitlines()
    assert lines[:11] == [f"line {chunk}" for chunk in range(1, 12)]
    assert "the log is cut here" in lines[-1]
