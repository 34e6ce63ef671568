"""IAM and STS, as the platform relies on them, and the doors of the emulator that must be shut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.mayfly.localcloud.rig import QUICK, TRUST_EC2, Clients, fetch, policy, started

pytestmark = pytest.mark.cloud
BUCKET = "lab-pca"
OBJECTS = f"arn:aws:s3:::{BUCKET}"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with started(tmp_path_factory.mktemp("cloud")) as (_, found):
        found.s3.create_bucket(Bucket=BUCKET)
        for key in ("lab1/results/r", "lab1/inputs/i", "lab2/results/r"):
            found.s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        yield found


@pytest.fixture(scope="module")
def member(clients: Clients) -> Clients:
    """Somebody of lab1, with the policy that our compiler writes: literal prefixes, one per kind of folder."""
    list_own = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": OBJECTS,
        "Condition": {"StringLike": {"s3:prefix": ["lab1/*"]}},
    }
    document = json.loads(
        policy(
            (["s3:PutObject", "s3:DeleteObject"], [f"{OBJECTS}/lab1/inputs/*", f"{OBJECTS}/lab1/submissions/*"]),
            (["s3:GetObject", "s3:DeleteObject"], f"{OBJECTS}/lab1/results/*"),
        )
    )
    document["Statement"].append(list_own)
    trust = json.loads(json.dumps(TRUST_EC2))
    trust["Statement"][0]["Principal"] = {"AWS": f"arn:aws:iam::{clients.settings.account}:root"}
    role = clients.iam.create_role(RoleName="lab-group-lab1", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    clients.iam.put_role_policy(RoleName="lab-group-lab1", PolicyName="pca", PolicyDocument=json.dumps(document))
    found = clients.sts.assume_role(RoleArn=role["Arn"], RoleSessionName="ada", DurationSeconds=3600)["Credentials"]
    return clients.with_key(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def code_of(call: Callable[[Any], Any], client: Any) -> str:
    """Return the error of a call: as a whole, or of the one key of a batch."""
    try:
        answer = call(client)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return str(answer.get("Errors", [{"Code": "none"}])[0]["Code"])


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


def test_a_session_is_who_it_assumed(member: Clients) -> None:
    assert member.sts.get_caller_identity()["Arn"].endswith(":assumed-role/lab-group-lab1/ada")


def test_a_member_may_do_what_the_contract_says(member: Clients) -> None:
    s3 = member.s3
    s3.put_object(Bucket=BUCKET, Key="lab1/inputs/mine", Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="lab1/inputs/mine")
    s3.put_object(Bucket=BUCKET, Key="lab1/submissions/submit.json", Body=b"{}")
    assert s3.get_object(Bucket=BUCKET, Key="lab1/results/r")["Body"].read() == b"x"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="lab1/")["KeyCount"] >= 2


@pytest.mark.parametrize(
    "call",
    [
        lambda s3: s3.get_object(Bucket=BUCKET, Key="lab1/inputs/i"),
        lambda s3: s3.put_object(Bucket=BUCKET, Key="lab1/results/forged", Body=b"x"),
        lambda s3: s3.get_object(Bucket=BUCKET, Key="lab2/results/r"),
        lambda s3: s3.put_object(Bucket=BUCKET, Key="lab2/inputs/x", Body=b"x"),
        lambda s3: s3.delete_object(Bucket=BUCKET, Key="lab2/results/r"),
        lambda s3: s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "lab2/results/r"}], "Quiet": True}),
        lambda s3: s3.copy_object(
            Bucket=BUCKET, Key="lab1/inputs/stolen", CopySource={"Bucket": BUCKET, "Key": "lab2/results/r"}
        ),
        lambda s3: s3.list_objects_v2(Bucket=BUCKET),
        lambda s3: s3.list_objects_v2(Bucket=BUCKET, Prefix="lab2/"),
        lambda s3: s3.list_object_versions(Bucket=BUCKET, Prefix="lab1/"),
        lambda s3: s3.put_object_acl(Bucket=BUCKET, Key="lab1/results/r", ACL="public-read"),
        lambda s3: s3.get_bucket_policy(Bucket=BUCKET),
        lambda s3: s3.create_bucket(Bucket="lab-mine"),
        lambda s3: s3.list_buckets(),
        lambda s3: s3.delete_bucket(Bucket=BUCKET),
    ],
)
def test_a_member_may_do_nothing_else(clients: Clients, member: Clients, call: Callable[[Any], Any]) -> None:
    assert code_of(call, member.s3) in {"AccessDenied", "403"}
    assert clients.s3.get_object(Bucket=BUCKET, Key="lab2/results/r")["Body"].read() == b"x"


def test_a_key_with_dots_is_only_a_key(clients: Clients, member: Clients) -> None:
    member.s3.put_object(Bucket=BUCKET, Key="lab1/inputs/../../lab2/inputs/x", Body=b"x")
    assert clients.s3.list_objects_v2(Bucket=BUCKET, Prefix="lab2/inputs/")["KeyCount"] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.iam.list_users(),
        lambda c: c.iam.create_access_key(UserName="mayfly-administrator"),
        lambda c: c.sqs.list_queues(),
        lambda c: c.events.list_rules(),
        lambda c: c.ec2.describe_instances(),
        lambda c: c.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1),
        lambda c: c.sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/lab-group-lab1", RoleSessionName="ada"),
    ],
)
def test_a_member_reaches_no_control_plane(member: Clients, call: Callable[[Clients], Any]) -> None:
    assert refused(lambda: call(member)) in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def test_a_presigned_url_carries_the_rights_of_who_signed(member: Clients) -> None:
    own = member.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "lab1/results/r"})
    assert fetch(own) == (200, b"x")
    foreign = member.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "lab2/results/r"})
    assert fetch(foreign)[0] == 403


@pytest.mark.parametrize("access_key", ["test", "", "123456789012", "000000000000", "AKIAIOSFODNN7EXAMPLE", "root"])
@pytest.mark.parametrize("service", ["s3", "iam", "sqs", "events", "sts", "ec2"])
def test_no_key_is_root(clients: Clients, access_key: str, service: str) -> None:
    calls = {
        "s3": "list_buckets",
        "iam": "list_users",
        "sqs": "list_queues",
        "events": "list_rules",
        "sts": "get_caller_identity",
        "ec2": "describe_instances",
    }
    found = clients.with_key(access_key or " ", "test") if access_key else None
    client = (
        getattr(found, service)
        if found
        else boto3.client(
            service,
            endpoint_url=clients.settings.endpoint_of(service),
            region_name="us-east-1",
            config=QUICK.merge(Config(signature_version=UNSIGNED)),
        )
    )
    with pytest.raises(ClientError) as error:
        getattr(client, calls[service])()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 401, 403}


@pytest.mark.parametrize("service", ["s3", "iam", "sqs", "ec2"])
def test_a_wrong_secret_is_refused(clients: Clients, service: str) -> None:
    forged = clients.with_key(clients.settings.access_key or "", "wrong")
    call = {"s3": "list_buckets", "iam": "list_users", "sqs": "list_queues", "ec2": "describe_instances"}[service]
    with pytest.raises(ClientError) as error:
        getattr(getattr(forged, service), call)()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 401, 403}


@pytest.mark.parametrize(
    "path",
    [
        "_ministack/reset",
        "_ministack/config",
        "_ministack/health",
        "_localstack/health",
        "_aws/sqs/messages",
        "moto-api/reset",
        "moto-api/data.json",
        "moto-api/",
        "latest/meta-data/iam/security-credentials/",
        "iceberg/v1/config",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_emulators_own_doors_are_shut(clients: Clients, path: str, method: str) -> None:
    for endpoint in (clients.settings.endpoint, clients.settings.ec2_endpoint):
        assert fetch(f"{endpoint}/{path}", method=method, data=b"{}" if method == "POST" else None)[0] in {403, 404}
    assert clients.s3.head_bucket(Bucket=BUCKET)


def test_a_web_page_elsewhere_cannot_reach_it_by_another_name(clients: Clients) -> None:
    url = clients.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "lab1/results/r"})
    assert fetch(url)[0] == 200
    assert fetch(url, headers={"Host": "evil.example"})[0] == 403


def test_services_that_are_not_on_offer_say_so(clients: Clients) -> None:
    with pytest.raises(ClientError) as error:
        Clients(clients.settings).secretsmanager.list_secrets()
    assert "not on offer" in str(error.value)


def test_the_administrator_is_an_ordinary_user(clients: Clients) -> None:
    assert clients.sts.get_caller_identity()["Arn"].endswith(":user/mayfly/mayfly-administrator")
