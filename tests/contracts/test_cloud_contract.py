"""One suite for every cloud: what it asserts of the fake, it asserts of AwsCloud against an emulator."""

from __future__ import annotations

import json
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import boto3
import pytest

from mayfly.localcloud import LocalCloud
from runner.cloud import (
    DEPLOYMENT_TAG,
    IMAGE_TAG,
    JOB_TAG,
    TASK_TAG,
    AwsCloud,
    Cloud,
    CloudSettings,
    Leftover,
    LeftoverKind,
)
from runner.fingerprint import fingerprint
from state.errors import CloudError
from tests.fakes.cloud import FakeCloud
from tests.fakes.moto_cloud import moto_server

KINDS = [
    pytest.param("fake", id="fake"),
    pytest.param("moto", id="moto", marks=pytest.mark.cloud),
    pytest.param("embedded", id="embedded", marks=pytest.mark.cloud),
]
T = TypeVar("T")


@dataclass
class Rig:
    """A cloud under test, and the means to set scenes that the contract itself has no words for.

    Every rig has names of its own, because the servers behind them live longer than one test.
    """

    cloud: Cloud
    make_bucket: Callable[[str], object]
    make_queue: Callable[[str], object]
    make_role: Callable[[str], str]
    send: Callable[[str, str], object]
    launch: Callable[..., str]
    leave: Callable[..., str]
    serves: bool
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def bucket(self) -> str:
        return f"data-{self.mark}"

    @property
    def queue(self) -> str:
        return f"events-{self.mark}"

    @property
    def mine(self) -> str:
        return f"mine-{self.mark}"

    @property
    def other(self) -> str:
        return f"other-{self.mark}"


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 60) -> T:
    """Look until it is as wanted: EC2 takes its time. The last look is what a test then judges."""
    end = time.monotonic() + seconds
    while not wanted(found := look()) and time.monotonic() < end:
        threading.Event().wait(0.2)
    return found


def fake_rig() -> Rig:
    fake = FakeCloud()
    return Rig(
        cloud=fake,
        make_bucket=fake.make_bucket,
        make_queue=fake.make_queue,
        make_role=fake.make_role,
        send=fake.send,
        launch=fake.launch,
        leave=fake.leave,
        serves=False,
    )


@pytest.fixture(scope="module")
def moto() -> Iterator[CloudSettings]:
    with moto_server() as settings:
        yield settings


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudSettings]:
    folder = tmp_path_factory.mktemp("embedded")
    store = folder / "images" / "contract"
    (store / "files").mkdir(parents=True)
    (store / "manifest.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAYFLY_UNSAFE_NO_SANDBOX", "1")  # the contract holds on a machine without a sandbox, too
        cloud = LocalCloud.start(folder / "cloud", folder / "images")
    yield cloud.settings
    cloud.stop()


def aws_rig(settings: CloudSettings) -> Rig:
    def client(service: str) -> Any:
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=settings.endpoint_of(service),
            region_name=settings.region,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
        )

    s3, sqs, ec2, iam = (client(name) for name in ("s3", "sqs", "ec2", "iam"))
    cloud = AwsCloud(settings)

    def make_bucket(name: str) -> None:
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def make_role(name: str) -> str:
        who = {"AWS": f"arn:aws:iam::{settings.account}:root"}
        trust = {"Statement": [{"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"}]}
        return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"])

    def tags(deployment: str, job: str, more: dict[str, str]) -> list[dict[str, str]]:
        return [{"Key": k, "Value": v} for k, v in {DEPLOYMENT_TAG: deployment, JOB_TAG: job, **more}.items()]

    def launch(*, deployment: str, job: str, task: int = 0) -> str:
        image = cloud.register_image(name="iae-contract", digest="contract", architecture="x86_64")
        worn = tags(deployment, job, {TASK_TAG: str(task)})
        run = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="m5.large",
            UserData="#!/bin/bash\nsleep 300\n",
            TagSpecifications=[{"ResourceType": "instance", "Tags": worn}],
        )
        return str(run["Instances"][0]["InstanceId"])

    def leave(kind: LeftoverKind, *, deployment: str, job: str) -> str:
        worn = tags(deployment, job, {})
        if kind is LeftoverKind.VOLUME:
            spec = [{"ResourceType": "volume", "Tags": worn}]
            made = ec2.create_volume(AvailabilityZone=f"{settings.region}a", Size=1, TagSpecifications=spec)
            return str(made["VolumeId"])
        spec = [{"ResourceType": "security-group", "Tags": worn}]
        made = ec2.create_security_group(GroupName=f"{deployment}-{job}", Description="test", TagSpecifications=spec)
        return str(made["GroupId"])

    return Rig(
        cloud=cloud,
        make_bucket=make_bucket,
        make_queue=lambda name: sqs.create_queue(QueueName=name),
        make_role=make_role,
        send=lambda queue, body: sqs.send_message(
            QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody=body
        ),
        launch=launch,
        leave=leave,
        serves=True,
    )


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest) -> Rig:
    made = fake_rig() if request.param == "fake" else aws_rig(request.getfixturevalue(request.param))
    made.make_bucket(made.bucket)
    return made


def test_an_object_comes_back_as_it_was_written(rig: Rig) -> None:
    wrote = rig.cloud.write(rig.bucket, "lab/results/ä b:c.txt", b"hello")
    found = rig.cloud.head(rig.bucket, "lab/results/ä b:c.txt")
    assert found is not None
    assert (found.bucket, found.key, found.size) == (rig.bucket, "lab/results/ä b:c.txt", 5)
    assert found.etag == wrote.etag == "5d41402abc4b2a76b9719d911017c592"
    assert found.version == wrote.version != ""
    assert found.modified.tzinfo is not None
    assert rig.cloud.read(rig.bucket, "lab/results/ä b:c.txt") == b"hello"
    assert rig.cloud.read(rig.bucket, "lab/results/ä b:c.txt", limit=2) == b"he"


def test_the_checksum_of_an_object_is_the_stores_own_or_none(rig: Rig) -> None:
    rig.make_bucket(rig.bucket)
    rig.cloud.write(rig.bucket, "a", b"123")
    assert rig.cloud.checksum(rig.bucket, "a") in {f"{zlib.crc32(b'123'):08x}", None}


def test_the_price_of_spot_capacity_is_a_price_or_not_known(rig: Rig) -> None:
    price = rig.cloud.spot_price("m5.large", "us-east-1a")
    assert price is None or price > 0


def test_an_older_version_can_still_be_read(rig: Rig) -> None:
    first = rig.cloud.write(rig.bucket, "k", b"one")
    second = rig.cloud.write(rig.bucket, "k", b"two")
    assert first.version != second.version
    assert rig.cloud.read(rig.bucket, "k") == b"two"
    assert rig.cloud.read(rig.bucket, "k", version=first.version) == b"one"
    old = rig.cloud.head(rig.bucket, "k", version=first.version)
    assert old is not None
    assert old.etag == first.etag


def test_an_empty_object_is_an_object(rig: Rig) -> None:
    rig.cloud.write(rig.bucket, "empty", b"")
    assert rig.cloud.read(rig.bucket, "empty", limit=10) == b""
    found = rig.cloud.head(rig.bucket, "empty")
    assert found is not None
    assert found.size == 0


def test_what_is_missing_has_no_head_and_cannot_be_read(rig: Rig, tmp_path: Path) -> None:
    assert rig.cloud.head(rig.bucket, "nothing") is None
    with pytest.raises(CloudError, match=r"s3://data-.*/nothing") as caught:
        rig.cloud.read(rig.bucket, "nothing")
    assert (caught.value.code, caught.value.service, caught.value.retryable) == ("NoSuchKey", "s3", False)
    with pytest.raises(CloudError) as caught:
        rig.cloud.download(rig.bucket, "nothing", tmp_path / "file")
    assert caught.value.code == "NoSuchKey"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_is_named(rig: Rig) -> None:
    assert rig.cloud.head("no-such-bucket", "k") is None
    for call in (
        lambda: rig.cloud.read("no-such-bucket", "k"),
        lambda: rig.cloud.write("no-such-bucket", "k", b""),
        lambda: list(rig.cloud.list("no-such-bucket", "")),
    ):
        with pytest.raises(CloudError, match="no-such-bucket") as caught:
            call()
        assert caught.value.code == "NoSuchBucket"


@pytest.mark.slow
def test_a_listing_has_the_prefix_in_order_over_pages(rig: Rig) -> None:
    keys = [f"lab/inputs/{n:04d}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: rig.cloud.write(rig.bucket, key, b"x"), reversed(keys)))
    rig.cloud.write(rig.bucket, "lab/inputsX", b"x")
    found = list(rig.cloud.list(rig.bucket, "lab/inputs/"))
    assert [info.key for info in found] == keys
    assert {info.size for info in found} == {1}
    assert list(rig.cloud.list(rig.bucket, "nothing/")) == []


def test_a_listing_of_versions_names_the_newest_one_of_what_is_there(rig: Rig) -> None:
    rig.cloud.write(rig.bucket, "lab/a", b"old")
    newest = rig.cloud.write(rig.bucket, "lab/a", b"new")
    other = rig.cloud.write(rig.bucket, "lab/b", b"x")
    rig.cloud.write(rig.bucket, "lab/gone", b"x")
    rig.cloud.delete(rig.bucket, "lab/gone")
    found = list(rig.cloud.versions(rig.bucket, "lab/"))
    assert [(one.key, one.version, one.etag) for one in found] == [
        (one.key, one.version, one.etag) for one in (newest, other)
    ]
    assert [one.size for one in found] == [3, 1]


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(rig: Rig) -> None:
    rig.cloud.write(rig.bucket, "k", b"x")
    rig.cloud.delete(rig.bucket, "k")
    rig.cloud.delete(rig.bucket, "k")
    assert rig.cloud.head(rig.bucket, "k") is None
    assert list(rig.cloud.list(rig.bucket, "")) == []


@pytest.mark.parametrize("size", [0, 3, 70 * 1024 * 1024], ids=["empty", "small", "in parts"])
def test_files_go_up_and_come_down_whole_and_are_counted(rig: Rig, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(size // 2) + b"x" * (size - size // 2))
    up: list[int] = []
    down: list[int] = []
    rig.cloud.upload(source, rig.bucket, "big", on_bytes=up.append)
    rig.cloud.download(rig.bucket, "big", target, on_bytes=down.append)
    assert target.stat().st_size == size
    assert sum(up) == sum(down) == size
    found = rig.cloud.head(rig.bucket, "big")
    assert found is not None
    assert found.etag == fingerprint(source)


def test_a_presigned_url_is_signed_the_new_way(rig: Rig) -> None:
    rig.cloud.write(rig.bucket, "agent/a b.pyz", b"zip")
    url = rig.cloud.presign(rig.bucket, "agent/a b.pyz", seconds=60)
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    if rig.serves:
        with urlopen(url) as answer:  # noqa: S310 - loopback
            assert answer.read() == b"zip"


def test_a_message_comes_until_it_is_acknowledged(rig: Rig) -> None:
    rig.make_queue(rig.queue)
    url = rig.cloud.queue_url(rig.queue)
    assert rig.cloud.receive(url, wait_s=0) == []
    rig.send(rig.queue, json.dumps({"a": "é"}))
    [message] = rig.cloud.receive(url, wait_s=1, most=10)
    assert json.loads(message.body) == {"a": "é"}
    assert message.attempts == 1
    rig.cloud.acknowledge(url, message.receipt)
    assert rig.cloud.receive(url, wait_s=0) == []


def test_many_messages_are_acknowledged_at_once(rig: Rig) -> None:
    rig.make_queue(rig.queue)
    url = rig.cloud.queue_url(rig.queue)
    for n in range(12):
        rig.send(rig.queue, str(n))
    found = [*rig.cloud.receive(url, wait_s=1, most=10), *rig.cloud.receive(url, wait_s=1, most=10)]
    rig.cloud.acknowledge_all(url, [message.receipt for message in found])
    rig.cloud.acknowledge_all(url, [])
    assert len(found) == 12
    assert rig.cloud.receive(url, wait_s=0) == []


def test_receive_takes_no_more_than_it_was_asked_for(rig: Rig) -> None:
    rig.make_queue(rig.queue)
    url = rig.cloud.queue_url(rig.queue)
    for n in range(3):
        rig.send(rig.queue, str(n))
    first = rig.cloud.receive(url, wait_s=0, most=2)
    rest = rig.cloud.receive(url, wait_s=0, most=2)
    assert (len(first), len(rest)) == (2, 1)
    assert {m.body for m in (*first, *rest)} == {"0", "1", "2"}


def test_a_missing_queue_is_named(rig: Rig) -> None:
    with pytest.raises(CloudError, match="no-such-queue") as caught:
        rig.cloud.queue_url("no-such-queue")
    assert caught.value.code == "NoSuchQueue"


def test_instances_are_found_by_their_tags_also_when_they_are_gone(rig: Rig) -> None:
    second = rig.launch(deployment=rig.mine, job="pca-2", task=1)
    first = rig.launch(deployment=rig.mine, job="pca-1", task=0)
    rig.launch(deployment=rig.other, job="pca-1", task=0)
    found = eventually(
        lambda: rig.cloud.instances(deployment=rig.mine), lambda all_: "pending" not in {i.state for i in all_}
    )
    assert [(i.id, i.job, i.task) for i in found] == [(first, "pca-1", 0), (second, "pca-2", 1)]
    assert {(i.state, i.type, i.ended) for i in found} == {("running", "m5.large", None)}
    assert all(i.launched.tzinfo is not None and i.image.startswith("ami-") for i in found)
    assert [i.id for i in rig.cloud.instances(deployment=rig.mine, job="pca-2")] == [second]

    [leftover] = rig.cloud.leftovers(deployment=rig.mine, job="pca-1")
    rig.cloud.remove(leftover)
    [gone] = eventually(lambda: rig.cloud.instances(deployment=rig.mine, job="pca-1"), lambda all_: all_[0].is_gone)
    assert gone.id == first
    assert (gone.state, gone.is_gone) == ("terminated", True)
    assert "user" in gone.reason.lower()
    assert gone.ended is not None
    assert timedelta(seconds=-2) < gone.ended - gone.launched < timedelta(minutes=5)


def test_leftovers_are_what_is_still_there_in_the_order_to_remove_it(rig: Rig) -> None:
    wall = rig.leave(LeftoverKind.SECURITY_GROUP, deployment=rig.mine, job="pca-1")
    disk = rig.leave(LeftoverKind.VOLUME, deployment=rig.mine, job="pca-1")
    rig.leave(LeftoverKind.VOLUME, deployment=rig.other, job="pca-1")
    machine = rig.launch(deployment=rig.mine, job="pca-1")
    found = rig.cloud.leftovers(deployment=rig.mine, job="pca-1")
    assert [(thing.kind, thing.id) for thing in found] == [
        (LeftoverKind.INSTANCE, machine),
        (LeftoverKind.VOLUME, disk),
        (LeftoverKind.SECURITY_GROUP, wall),
    ]
    assert {thing.job for thing in found} == {"pca-1"}
    assert found[0].created is not None
    assert found[2].created is None
    assert found[1].tags[DEPLOYMENT_TAG] == rig.mine
    assert rig.cloud.leftovers(deployment=rig.mine) == found
    for thing in found:
        rig.cloud.remove(thing)
    assert eventually(lambda: rig.cloud.leftovers(deployment=rig.mine), lambda left: not left) == []
    for thing in found:
        rig.cloud.remove(thing)


def test_removing_what_never_was_is_no_error(rig: Rig) -> None:
    names = {LeftoverKind.INSTANCE: "i", LeftoverKind.VOLUME: "vol", LeftoverKind.SECURITY_GROUP: "sg"}
    for kind, start in names.items():
        rig.cloud.remove(Leftover(kind=kind, id=f"{start}-0123456789abcdef0", job="pca-1"))


def test_a_console_can_be_read_and_a_missing_one_is_named(rig: Rig) -> None:
    machine = rig.launch(deployment=rig.mine, job="pca-1")
    assert isinstance(rig.cloud.console(machine), str)
    with pytest.raises(CloudError, match="i-0123456789abcdef0") as caught:
        rig.cloud.console("i-0123456789abcdef0")
    assert caught.value.code == "InvalidInstanceID.NotFound"


def test_an_image_is_found_by_its_digest_and_registered_once(rig: Rig) -> None:
    digest = rig.mark * 8
    assert rig.cloud.find_image(digest) is None
    ami = rig.cloud.register_image(name=f"iae-{digest[:32]}", digest=digest, architecture="x86_64")
    assert ami.startswith("ami-")
    assert rig.cloud.find_image(digest) == ami
    assert rig.cloud.register_image(name=f"iae-{digest[:32]}", digest=digest, architecture="x86_64") == ami
    assert rig.cloud.find_image("cd" * 32) is None


def test_a_role_is_there_or_not(rig: Rig) -> None:
    assert not rig.cloud.role_exists(f"{rig.mine}-people")
    rig.make_role(f"{rig.mine}-people")
    assert rig.cloud.role_exists(f"{rig.mine}-people")


def test_a_group_gets_settings_of_its_own(rig: Rig) -> None:
    given = rig.cloud.assume_group(rig.make_role(f"{rig.mine}-group"), "Ann Ö <ann@x.org>")
    assert given.access_key
    assert given.secret_key
    assert given.session_token
    assert given.secret_key not in repr(given)
    assert given.session_token not in repr(given)


@pytest.mark.cloud
def test_neither_proxies_nor_certificates_nor_profiles_concern_loopback(
    moto: CloudSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    monkeypatch.setenv("AWS_PROFILE", "forgotten")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert moto.is_loopback
    cloud = AwsCloud(moto)
    assert cloud.instances(deployment="none-such") == []
    assert cloud.head("no-such-bucket", "nothing") is None


def test_a_cloud_that_does_not_answer_is_unreachable_and_worth_another_try(tmp_path: Path) -> None:
    cloud = AwsCloud(
        CloudSettings(
            region="us-east-1", account="1" * 12, endpoint="http://127.0.0.1:9", access_key="k", secret_key="s"
        )
    )
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: cloud.read("data", "k"),
        lambda: cloud.upload(tmp_path / "f", "data", "k"),
        lambda: cloud.instances(deployment="lab"),
    ):
        with pytest.raises(CloudError, match=r"http://127\.0\.0\.1:9") as caught:
            call()
        assert (caught.value.code, caught.value.retryable) == ("Unreachable", True)


def test_the_fake_fails_on_demand_and_knows_what_a_user_may_not_do() -> None:
    fake = FakeCloud(now=lambda: datetime(2026, 11, 22, tzinfo=UTC))
    fake.make_bucket("data")
    fake.fail_next("write", CloudError("slow down", service="s3", code="SlowDown", retryable=True))
    with pytest.raises(CloudError, match="slow down"):
        fake.write("data", "lab/configs/c.yaml", b"")
    fake.write("data", "lab/configs/c.yaml", b"")
    user = fake.as_group("lab")
    user.write("data", "lab/inputs/a", b"1")
    assert [i.key for i in user.list("data", "lab/")] == ["lab/configs/c.yaml", "lab/inputs/a"]
    assert user.read("data", "lab/configs/c.yaml") == b""
    for call in (
        lambda: user.read("data", "lab/inputs/a"),
        lambda: user.head("data", "lab/inputs/a"),
        lambda: user.write("data", "lab/results/a", b""),
        lambda: list(user.list("data", "other/")),
    ):
        with pytest.raises(CloudError) as caught:
            call()
        assert caught.value.code == "AccessDenied"


def test_events_reach_the_queue_they_are_wired_to() -> None:
    fake = FakeCloud()
    fake.make_bucket("data")
    fake.make_queue("events")
    fake.wire("data", "events")
    fake.write("data", "lab/configs/c.yaml", b"")
    wrote = fake.write("data", "lab/submissions/submit.json", b"{}")
    url = fake.queue_url("events")
    [message] = fake.receive(url, wait_s=0)
    detail = json.loads(message.body)["detail"]
    assert detail["bucket"]["name"] == "data"
    assert detail["object"]["key"] == "lab/submissions/submit.json"
    assert detail["object"]["version-id"] == wrote.version
    fake.redeliver("events")
    [again] = fake.receive(url, wait_s=0)
    assert (again.id, again.attempts) == (message.id, 2)
    assert replace(again, receipt="", attempts=0) == replace(message, receipt="", attempts=0)
    assert IMAGE_TAG == "mayfly:iae"
