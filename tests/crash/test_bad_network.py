"""What AwsCloud makes of a bad network: the right answer, or an error that says so; never a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from runner.cloud import AwsCloud, CloudSettings
from state.errors import CloudError
from tests.crash.fault_proxy import Fault, FaultProxy
from tests.fakes.moto_cloud import moto_server

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def moto() -> Iterator[CloudSettings]:
    with moto_server() as settings:
        yield settings


@pytest.fixture
def network(moto: CloudSettings) -> Iterator[FaultProxy]:
    with closing(FaultProxy(str(moto.endpoint))) as proxy:
        yield proxy


@pytest.fixture
def cloud(moto: CloudSettings, network: FaultProxy) -> AwsCloud:
    plain = AwsCloud(moto)
    plain._s3.create_bucket(Bucket="data")
    plain.write("data", "key", b"0123456789")
    return AwsCloud(replace(moto, endpoint=network.endpoint))


PASSING = [Fault.THROTTLE, Fault.ERROR, Fault.TIMEOUT, Fault.RESET, Fault.LOST_ANSWER]


@pytest.mark.parametrize("fault", PASSING)
def test_one_fault_is_passed_over(cloud: AwsCloud, network: FaultProxy, fault: Fault) -> None:
    network.expect(fault, "GET /data/key")
    assert cloud.read("data", "key") == b"0123456789"
    network.expect(fault, "PUT /data/new")
    cloud.write("data", "new", b"written")
    assert cloud.read("data", "new") == b"written"
    network.expect(fault, "DescribeInstances")
    assert cloud.instances(deployment="net") == []
    assert [kind for kind, _ in network.happened] == [fault] * 3


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.RESET])
def test_a_network_that_stays_bad_is_an_error_that_may_be_tried_again(
    cloud: AwsCloud, network: FaultProxy, fault: Fault
) -> None:
    network.expect(fault, "GET /data/key", times=50)
    with pytest.raises(CloudError) as caught:
        cloud.read("data", "key")
    assert caught.value.retryable
    assert "s3://data/key" in str(caught.value)


def test_half_an_object_is_not_taken_for_a_whole_one(cloud: AwsCloud, network: FaultProxy, tmp_path: Path) -> None:
    network.expect(Fault.TRUNCATED, "GET /data/key", times=50)
    with pytest.raises(CloudError) as caught:
        cloud.read("data", "key")
    assert caught.value.retryable
    with pytest.raises(CloudError):
        cloud.download("data", "key", tmp_path / "whole")
    assert list(tmp_path.iterdir()) == []


def test_half_a_list_of_machines_is_not_taken_for_all(cloud: AwsCloud, network: FaultProxy) -> None:
    network.expect(Fault.TRUNCATED, "DescribeInstances", times=50)
    with pytest.raises(CloudError):
        cloud.leftovers(deployment="net")
