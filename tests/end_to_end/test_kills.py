"""SIGKILL of real processes while jobs are provisioning, running and destroying, and a bad network: each job ends once,
with nothing left."""

from __future__ import annotations

import json

import psutil
import pytest

from state.job import JobStatus
from tests.crash.fault_proxy import Fault, FaultProxy
from tests.end_to_end.living import Living
from tests.machine import is_gone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("victim", ["worker", "watch", "terraform"])
def test_killed_with_a_job_in_every_phase(living: Living, victim: str) -> None:
    running = living.submit(mode="told")
    destroying = living.submit(mode="forever")
    record = living.reach(destroying, JobStatus.RUNNING)
    living.reach(running, JobStatus.RUNNING)
    living.until(lambda: not living.has("terraform"), "both applies to end")
    ledger = living.book
    ledger.request_cancel(record.id, "changed my mind", record.changed)
    provisioning = living.submit(seconds=1)

    def both_at_work() -> list[psutil.Process] | None:
        wanted = (JobStatus.PROVISIONING, JobStatus.DESTROYING)
        if (status(living, provisioning), status(living, destroying)) != wanted:
            return None
        return living.freeze("terraform", 2)

    frozen = living.until(both_at_work, "one apply and one destroy beside each other")
    assert status(living, running) is JobStatus.RUNNING
    assert living.kill(victim) == (2 if victim == "terraform" else 1)
    living.thaw(frozen)

    living.check_end(provisioning, JobStatus.DONE)
    living.until(lambda: at_work(living, running), "the analysis to hear")
    living.tell()
    living.check_end(running, JobStatus.DONE)
    living.check_end(destroying, JobStatus.CANCELLED)
    assert living.left() == []


def test_a_submission_that_nobody_watched_is_not_lost(living: Living) -> None:
    living.kill("watch")
    root = living.submit()
    living.check_end(root, JobStatus.DONE)
    assert living.left() == []


def test_a_killed_agent_costs_its_dataset_and_no_other(living: Living) -> None:
    root = living.submit(datasets=2, mode="told")
    first, other = living.until(lambda: both(living.find_all("agent.pyz")), "two agents")
    living.until(lambda: len(at_work(living, root)) == 2, "both analyses to run")
    first.kill()
    living.until(lambda: is_gone(first.pid), "the agent to be dead")
    assert not is_gone(other.pid)
    living.tell()

    living.check_end(root, JobStatus.FAILED)
    said = living.text(f"{root}process_results/end.txt")
    assert "1 of 2 datasets failed" in said
    assert "ended without a report" in said
    assert len([key for key in living.keys(root) if key.endswith("copy.txt")]) == 1
    consoles = [key for key in living.keys(root) if key.endswith(".console.txt")]
    assert "the agent ended with status 137" in living.text(root + consoles[0])
    assert living.left() == []


def test_a_platform_reaches_ec2_over_a_bad_network(living: Living) -> None:
    proxy = FaultProxy(living.cloud["ec2_endpoint"])
    try:
        with living.behind(proxy):
            # Terraform tries everything twice; what is refused twice is not to be had, and the next kind is taken.
            proxy.expect(Fault.CAPACITY, "RunInstances", times=2)
            proxy.expect(Fault.LOST_ANSWER, "RunInstances")  # a machine is made, and Terraform does not hear of it
            proxy.expect(Fault.THROTTLE, "DescribeInstances")
            proxy.expect(Fault.ERROR, "DescribeSecurityGroups")
            proxy.expect(Fault.RESET, "DescribeInstanceTypes|DescribeInstanceAttribute|DescribeVolumes")
            proxy.expect(Fault.LOST_ANSWER, "DeleteSecurityGroup")
            root = living.submit(seconds=1)
            living.check_end(root, JobStatus.DONE)
            assert [one for one in proxy.plan if one.times] == [], sorted(set(proxy.calls))
    finally:
        proxy.close()
    certificate = living.text(f"{root}logs/certificate.txt")
    assert "no capacity" in certificate
    assert "t3.medium" in certificate
    assert living.left() == []


def both(found: list[psutil.Process]) -> list[psutil.Process] | None:
    """Return the processes, once there are two of them."""
    return found if len(found) == 2 else None


def at_work(living: Living, root: str) -> list[str]:
    """Return the datasets whose analysis has said something, and so hears what it is told."""
    keys = [key for key in living.keys(root) if key.endswith("_STATUS.txt")]
    said = {key: json.loads(living.text(root + key)) for key in keys}
    return [key for key, one in said.items() if one["phase"] == "running" and one["stdout"]]


def status(living: Living, root: str) -> JobStatus | None:
    record = living.look(root)
    return record.status if record else None
