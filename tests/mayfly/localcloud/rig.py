"""A started embedded cloud and clients of it, for tests."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from mayfly.localcloud import LocalCloud
from runner.cloud_values import CloudSettings

PATIENCE = 60.0
"""Seconds for what takes one or two: other tests may have this machine for themselves for a while."""
QUICK = Config(retries={"total_max_attempts": 1}, signature_version="v4", s3={"addressing_style": "path"})
TRUST_EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@dataclass(frozen=True, slots=True)
class Clients:
    """boto3 clients of one principal."""

    settings: CloudSettings

    def __getattr__(self, service: str) -> Any:
        own = self.settings
        return boto3.client(
            service,
            endpoint_url=own.endpoint_of(service),
            region_name=own.region,
            aws_access_key_id=own.access_key,
            aws_secret_access_key=own.secret_key,
            aws_session_token=own.session_token,
            config=QUICK,
        )

    def with_key(self, access_key: str, secret_key: str, session_token: str | None = None) -> Clients:
        own = self.settings
        return Clients(
            CloudSettings(
                region=own.region,
                account=own.account,
                endpoint=own.endpoint,
                ec2_endpoint=own.ec2_endpoint,
                access_key=access_key,
                secret_key=secret_key,
                session_token=session_token,
            )
        )


@contextmanager
def started(folder: Path) -> Iterator[tuple[LocalCloud, Clients]]:
    """Start a cloud in a folder and stop it at the end."""
    with LocalCloud.start(folder / "cloud", folder / "images") as cloud:
        yield cloud, Clients(cloud.settings)


def until(is_true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the first true answer; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := is_true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def policy(*statements: tuple[str | list[str], str | list[str]]) -> str:
    """Return a policy that allows actions on resources."""
    allowed = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": allowed})


def make_instance_profile(clients: Clients, name: str, document: str) -> None:
    """Make a role for instances, and its profile."""
    iam = clients.iam
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST_EC2))
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def make_image(clients: Clients, name: str, digest: str = "") -> str:
    """Register an AMI."""
    found: str = clients.ec2.register_image(Name=name, Architecture="x86_64", RootDeviceName="/dev/xvda")["ImageId"]
    if digest:
        clients.ec2.create_tags(Resources=[found], Tags=[{"Key": "mayfly:iae", "Value": digest}])
    return found


def launch(clients: Clients, image: str, script: str, **more: Any) -> str:
    """Run an instance whose user data is a bash script."""
    wanted = {
        "InstanceType": "t3.small",
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    text = f"#!/bin/bash\n{script}\n"
    return str(
        clients.ec2.run_instances(ImageId=image, UserData=text, **{**wanted, **more})["Instances"][0]["InstanceId"]
    )


def describe(clients: Clients, instance: str) -> dict[str, Any]:
    """Return EC2's description of an instance."""
    found: dict[str, Any] = clients.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found


def console(clients: Clients, instance: str) -> str:
    """Return what an instance printed."""
    return str(clients.ec2.get_console_output(InstanceId=instance).get("Output", ""))


def printed(clients: Clients, instance: str, marker: str, seconds: float = PATIENCE) -> str:
    """Wait until an instance has printed something, and return all that it printed."""
    until(lambda: marker in console(clients, instance), seconds)
    return console(clients, instance)


def fetch(
    url: str, *, method: str = "GET", data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Ask a URL without an SDK; return status and body, of errors too."""
    request = Request(url, data=data, method=method, headers=headers or {})  # noqa: S310 - the test's own http URL
    try:
        with urlopen(request) as answer:  # noqa: S310 - likewise
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def encode(text: str) -> str:
    """Return base64 of a text."""
    return base64.b64encode(text.encode()).decode()
