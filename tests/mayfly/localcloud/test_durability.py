"""What a client was told is stored is stored: over a restart, a kill, a full disk, a second process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from mayfly.localcloud import LocalCloud
from state.errors import EnvironmentMissingError, StateError
from tests.machine import hold_port, is_gone
from tests.mayfly.localcloud.rig import (
    Clients,
    describe,
    make_image,
    make_instance_profile,
    policy,
    started,
    until,
)

pytestmark = pytest.mark.cloud
BUCKET = "lab-pca"


def build(clients: Clients) -> dict[str, str]:
    """Make one of everything that must be remembered; return what names it."""
    s3 = clients.s3
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}})
    versions = [s3.put_object(Bucket=BUCKET, Key="lab1/a", Body=body)["VersionId"] for body in (b"one", b"two")]
    queue = clients.sqs.create_queue(QueueName="events")["QueueUrl"]
    clients.sqs.send_message(QueueUrl=queue, MessageBody="kept")
    arn = clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    clients.events.put_rule(Name="rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    clients.events.put_targets(Rule="rule", Targets=[{"Id": "queue", "Arn": arn}])
    make_instance_profile(clients, "lab1", policy(("s3:GetObject", "*")))
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": clients.settings.account}, "Action": "sts:AssumeRole"}],
    }
    role = clients.iam.create_role(RoleName="people", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    clients.iam.put_role_policy(RoleName="people", PolicyName="own", PolicyDocument=policy(("s3:GetObject", "*")))
    key = clients.sts.assume_role(RoleArn=role, RoleSessionName="ada")["Credentials"]
    image = make_image(clients, "plain", "d" * 64)
    group = clients.ec2.create_security_group(GroupName="job", Description="job")["GroupId"]
    instance = clients.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    return {
        "first": versions[0],
        "queue": queue,
        "image": image,
        "group": group,
        "instance": instance["Instances"][0]["InstanceId"],
        "url": s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "lab1/a"}),
        "access_key": key["AccessKeyId"],
        "secret_key": key["SecretAccessKey"],
        "session_token": key["SessionToken"],
    }


def check(clients: Clients, made: dict[str, str]) -> None:
    s3 = clients.s3
    assert s3.get_object(Bucket=BUCKET, Key="lab1/a")["Body"].read() == b"two"
    assert s3.get_object(Bucket=BUCKET, Key="lab1/a", VersionId=made["first"])["Body"].read() == b"one"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=BUCKET)
    member = clients.with_key(made["access_key"], made["secret_key"], made["session_token"])
    assert member.s3.get_object(Bucket=BUCKET, Key="lab1/a")["Body"].read() == b"two"
    message = clients.sqs.receive_message(QueueUrl=made["queue"])["Messages"][0]
    assert message["Body"] == "kept"
    assert clients.events.list_targets_by_rule(Rule="rule")["Targets"][0]["Id"] == "queue"
    assert clients.iam.get_instance_profile(InstanceProfileName="lab1")["InstanceProfile"]["Roles"]
    images = clients.ec2.describe_images(Filters=[{"Name": "tag:mayfly:iae", "Values": ["d" * 64]}])["Images"]
    assert [image["ImageId"] for image in images] == [made["image"]]
    found = describe(clients, made["instance"])
    assert found["State"]["Name"] == "terminated"
    assert "embedded cloud was stopped" in found["StateReason"]["Message"]
    clients.ec2.delete_security_group(GroupId=made["group"])
    s3.put_object(Bucket=BUCKET, Key="lab1/b", Body=b"new")
    event = clients.sqs.receive_message(QueueUrl=made["queue"], WaitTimeSeconds=20)["Messages"][0]
    assert json.loads(event["Body"])["detail"]["object"]["key"] == "lab1/b"


@pytest.mark.slow
def test_a_clean_restart_loses_nothing_and_keeps_its_ports(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, clients):
        before = cloud.settings
        made = build(clients)
    assert not (tmp_path / "cloud" / "cloud.json").exists()
    # From here until it is back, nobody else on this machine is given them.
    first, second = (hold_port(port_of(url)) for url in (before.endpoint, before.ec2_endpoint))
    with first, second, started(tmp_path) as (cloud, clients):
        assert cloud.settings == before
        check(clients, made)


@pytest.mark.slow
def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, clients):
        made = build(clients)
        os.kill(cloud.pid, signal.SIGKILL)
        until(lambda: not cloud.is_running)
    with started(tmp_path) as (_, clients):
        check(clients, made)


@pytest.mark.slow
def test_a_kill_right_after_each_answer_loses_none_of_them(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, clients):
        clients.s3.create_bucket(Bucket=BUCKET)
        queue = clients.sqs.create_queue(QueueName="events")["QueueUrl"]
        os.kill(cloud.pid, signal.SIGKILL)
        until(lambda: not cloud.is_running)
    calls = [
        (
            lambda c, n: c.s3.put_object(Bucket=BUCKET, Key=f"k{n}", Body=b"x" * n),
            lambda c, n: c.s3.head_object(Bucket=BUCKET, Key=f"k{n}"),
        ),
        (
            lambda c, n: c.iam.create_user(UserName=f"u{n}"),
            lambda c, n: c.iam.get_user(UserName=f"u{n}"),
        ),
        (
            lambda c, n: c.ec2.create_security_group(GroupName=f"g{n}", Description="g"),
            lambda c, n: c.ec2.describe_security_groups(GroupNames=[f"g{n}"]),
        ),
        (
            lambda c, n: c.sqs.send_message(QueueUrl=queue, MessageBody=f"m{n}"),
            lambda c, _: c.sqs.receive_message(QueueUrl=queue)["Messages"],
        ),
    ]
    for number, (change, _) in enumerate(calls):
        with started(tmp_path) as (cloud, clients):
            change(clients, number)
            os.kill(cloud.pid, signal.SIGKILL)
            until(lambda cloud=cloud: not cloud.is_running)
    with started(tmp_path) as (_, clients):
        for number, (_, find) in enumerate(calls):
            assert find(clients, number)


def test_everything_is_private_to_its_owner(tmp_path: Path) -> None:
    with started(tmp_path) as (_, clients):
        build(clients)
        for path in list((tmp_path / "cloud").rglob("*")):
            with suppress(FileNotFoundError):  # a draft, which has its name by now
                assert "cloud.log" in path.name or stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def port_of(endpoint: object) -> int:
    return int(str(endpoint).rpartition(":")[2])


def test_it_listens_on_loopback_at_two_ports_only(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, _):
        found = psutil.Process(cloud.pid).net_connections("inet")
        listening = {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}
    ports = {port_of(url) for url in (cloud.settings.endpoint, cloud.settings.ec2_endpoint)}
    assert listening == {("127.0.0.1", port) for port in ports}


def test_a_second_process_on_one_home_is_refused(tmp_path: Path) -> None:
    with started(tmp_path), pytest.raises(StateError, match="already runs in"):
        LocalCloud.start(tmp_path / "cloud", tmp_path / "images")


def test_two_homes_run_side_by_side(tmp_path: Path) -> None:
    with started(tmp_path / "a") as (one, _), started(tmp_path / "b") as (two, clients):
        assert one.settings.endpoint != two.settings.endpoint
        assert clients.s3.list_buckets()["Buckets"] == []


def test_a_port_that_is_taken_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentMissingError, match=f"Port {port} .* cannot be used"):
            LocalCloud.start(tmp_path / "cloud", tmp_path / "images", port=port)


def test_a_remembered_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, clients):
        queue = clients.sqs.create_queue(QueueName="events")["QueueUrl"]
        port = port_of(cloud.settings.endpoint)
    with ExitStack() as stack:
        with suppress(OSError):  # somebody else was quicker, which is as good
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        cloud, clients = stack.enter_context(started(tmp_path))
        assert not str(cloud.settings.endpoint).endswith(f":{port}")
        clients.sqs.send_message(QueueUrl=queue, MessageBody="by the old URL")
        found = clients.sqs.get_queue_url(QueueName="events")["QueueUrl"]
        assert clients.sqs.receive_message(QueueUrl=found)["Messages"][0]["Body"] == "by the old URL"


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from mayfly.localcloud import LocalCloud\n"
        f"cloud = LocalCloud.start(Path({str(tmp_path / 'cloud')!r}), Path({str(tmp_path / 'images')!r}))\n"
        "print(cloud.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(found.stdout)
    until(lambda: is_gone(pid))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs a small disk to fill")
def test_a_full_disk_is_an_error_for_the_client_and_the_server_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=0700", "tmpfs", str(disk)], check=True)
    try:
        with started(disk) as (_, clients):
            s3 = clients.s3
            s3.create_bucket(Bucket=BUCKET)
            s3.put_object(Bucket=BUCKET, Key="before", Body=b"x")
            with pytest.raises(ClientError) as error:
                s3.put_object(Bucket=BUCKET, Key="large", Body=b"x" * (60 << 20))
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
            with pytest.raises(ClientError):
                s3.head_object(Bucket=BUCKET, Key="large")
            filler = disk / "filler"
            filler.write_bytes(b"x" * ((os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) - (1 << 20)))
            with pytest.raises(ClientError, match="full"):
                s3.put_object(Bucket=BUCKET, Key="small", Body=b"x")
            with pytest.raises(ClientError, match="full"):
                clients.iam.create_user(UserName="u")
            assert s3.get_object(Bucket=BUCKET, Key="before")["Body"].read() == b"x"
            s3.delete_object(Bucket=BUCKET, Key="before")
            filler.unlink()
            s3.put_object(Bucket=BUCKET, Key="after", Body=b"x")
            clients.iam.create_user(UserName="u")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
