from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.cloud import AwsCloud, CloudSettings, LeftoverKind
from runner.cloud_reading import newest_image, read_error, read_instance, read_leftover
from runner.cloud_values import is_loopback
from state.errors import CloudError, EnvironmentMissingError, StateError

LAUNCHED = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTINGS = CloudSettings(
    region="us-east-1", account="123456789012", endpoint="http://127.0.0.1:4566", access_key="k", secret_key="hush"
)


def test_settings_come_from_the_file_of_an_embedded_cloud(tmp_path: Path) -> None:
    path = tmp_path / "cloud.json"
    facts = {"endpoint": "http://127.0.0.1:1", "ec2_endpoint": "http://127.0.0.1:2", "region": "us-east-1"}
    path.write_text(json.dumps(facts | {"account": "1" * 12, "access_key": "a", "secret_key": "b", "pid": 7}))
    found = CloudSettings.from_file(path)
    assert found.endpoint_of("s3") == "http://127.0.0.1:1"
    assert found.endpoint_of("ec2") == "http://127.0.0.1:2"
    assert (found.account, found.access_key, found.secret_key, found.session_token) == ("1" * 12, "a", "b", None)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '"x"'])
def test_a_file_that_is_missing_or_wrong_is_named_with_the_way_out(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cloud.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StateError, match=r"cloud\.json") as caught:
        CloudSettings.from_file(path)
    assert "Start one" in str(caught.value) or "Restart" in str(caught.value)


def test_secrets_are_never_printed() -> None:
    assert "hush" not in repr(SETTINGS)
    assert "hush" not in str(SETTINGS)


def test_the_environment_leads_every_sdk_to_the_same_cloud() -> None:
    found = SETTINGS.environment()
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert found["AWS_SECRET_ACCESS_KEY"] == "hush"
    assert found["AWS_CONFIG_FILE"] == found["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert "AWS_ENDPOINT_URL_EC2" not in found
    assert "AWS_SESSION_TOKEN" not in found
    real = CloudSettings(region="eu-west-1", account="1" * 12).environment()
    assert real == {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:80", True),
        ("http://localhost:80/x", True),
        ("http://[::1]:80", True),
        ("http://a.localhost", True),
        ("https://s3.amazonaws.com", False),
        ("http://localhost.evil.org", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_else(url: str, near: bool) -> None:
    assert is_loopback(url) is near


@pytest.mark.parametrize(
    ("code", "status", "read", "retryable"),
    [
        ("404", 404, "NoSuchKey", False),
        ("403", 403, "AccessDenied", False),
        ("UnauthorizedOperation", 403, "AccessDenied", False),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "NoSuchQueue", False),
        ("SlowDown", 503, "SlowDown", True),
        ("Weird", 500, "Weird", True),
        ("TooMany", 429, "TooMany", True),
        ("InsufficientInstanceCapacity", 400, "InsufficientInstanceCapacity", True),
        ("DependencyViolation", 400, "DependencyViolation", True),
        ("", 418, "418", False),
    ],
)
def test_one_meaning_has_one_code(code: str, status: int, read: str, retryable: bool) -> None:
    response = {"Error": {"Code": code, "Message": "a\nb."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = read_error(response, service="s3", doing="Reading s3://b/k")
    assert isinstance(error, CloudError)
    assert (error.code, error.retryable, error.service) == (read, retryable, "s3")
    assert str(error).startswith(f"Reading s3://b/k failed: {read} (a b).")
    assert "\n" not in str(error)


def instance(**changes: Any) -> dict[str, Any]:
    tags = [{"Key": "mayfly:job", "Value": "pca-1"}, {"Key": "mayfly:task", "Value": "3"}]
    return {
        "InstanceId": "i-1",
        "InstanceType": "m5.large",
        "ImageId": "ami-1",
        "LaunchTime": LAUNCHED,
        "State": {"Name": "running"},
        "Tags": tags,
    } | changes


def test_the_end_of_an_instance_is_read_from_its_reason() -> None:
    found = read_instance(
        instance(
            State={"Name": "terminated"},
            StateTransitionReason="User initiated (2026-11-22 12:30:05 GMT)",
            StateReason={"Code": "Client.UserInitiatedShutdown", "Message": "Client.UserInitiatedShutdown: by user"},
        )
    )
    assert found.ended == datetime(2026, 11, 22, 12, 30, 5, tzinfo=UTC)
    assert found.reason == "Client.UserInitiatedShutdown: by user"
    assert (found.job, found.task, found.is_gone) == ("pca-1", 3, True)


@pytest.mark.parametrize("reason", ["", "Server.SpotInstanceTermination", "User initiated (yesterday)"])
def test_an_end_that_ec2_does_not_date_is_unknown(reason: str) -> None:
    assert read_instance(instance(State={"Name": "terminated"}, StateTransitionReason=reason)).ended is None


def test_an_instance_without_our_tags_is_still_an_instance() -> None:
    found = read_instance(instance(Tags=[{"Key": "mayfly:task", "Value": "three"}]))
    assert (found.job, found.task, found.is_gone, found.ended) == ("", -1, False, None)
    assert read_instance({k: v for k, v in instance().items() if k != "Tags"}).tags == {}


def test_leftovers_carry_their_tags() -> None:
    disk = {"VolumeId": "vol-1", "CreateTime": LAUNCHED, "Tags": [{"Key": "mayfly:deadline", "Value": "x"}]}
    found = read_leftover(LeftoverKind.VOLUME, disk)
    assert (found.id, found.created, dict(found.tags)) == ("vol-1", LAUNCHED, {"mayfly:deadline": "x"})
    assert read_leftover(LeftoverKind.SECURITY_GROUP, {"GroupId": "sg-1"}).created is None


def test_the_newest_image_wins() -> None:
    images = [{"ImageId": "ami-2", "CreationDate": "2026-01-01"}, {"ImageId": "ami-1", "CreationDate": "2026-02-01"}]
    assert newest_image(images) == "ami-1"
    assert newest_image([]) is None


def test_a_local_file_that_is_not_there_is_not_the_clouds_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissingError, match=r"cannot read .*gone"):
        AwsCloud(SETTINGS).upload(tmp_path / "gone", "b", "k")


def test_without_credentials_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    cloud = AwsCloud(CloudSettings(region="us-east-1", account="1" * 12))
    with pytest.raises(CloudError, match="no AWS credentials were found") as caught:
        cloud.head("b", "k")
    assert (caught.value.code, caught.value.retryable) == ("NoCredentials", False)


def test_a_key_that_s3_cannot_have_is_an_error_with_a_code() -> None:
    with pytest.raises(CloudError) as caught:
        AwsCloud(SETTINGS).read("b", "")
    assert caught.value.code == "BadRequest"
