"""Instances as processes: what they can do, what they cannot, and that they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.localcloud import LocalCloud
from tests.machine import a_long_time, processes_with
from tests.mayfly.localcloud.rig import (
    Clients,
    console,
    describe,
    launch,
    make_image,
    make_instance_profile,
    policy,
    printed,
    started,
    until,
)

pytestmark = [pytest.mark.cloud, pytest.mark.skipif(not shutil.which("unshare"), reason="no sandbox on this system")]
BUCKET = "lab-pca"
TRIES = 10
"""How often something is tried that must be quick, until it was: the machine may be busy with other tests."""
Rig = tuple[LocalCloud, Clients, str]
METADATA = """
import urllib.request as u, urllib.error
E = "http://169.254.169.254/latest/"
def ask(path, method="GET", **headers):
    try:
        return u.urlopen(u.Request(E + path, method=method, headers=headers)).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
token = ask("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
def get(path):
    return ask("meta-data/" + path, **{"X-aws-ec2-metadata-token": token})
"""


def path_without(program: str, folder: Path) -> str:
    """Return a PATH with every program of this machine's PATH but one."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for found in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / found.name
            link.unlink(missing_ok=True)
            link.symlink_to(found)
    (folder / program).unlink(missing_ok=True)
    return str(folder)


@pytest.fixture(scope="module", params=["bubblewrap", "unshare"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("cloud")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "unshare":
            patch.setenv("PATH", path_without("bwrap", folder / "bin"))
        with started(folder) as (cloud, clients):
            if cloud.sandbox != request.param:
                pytest.skip(f"{request.param} does not work here: {cloud.sandbox_problems}")
            clients.s3.create_bucket(Bucket=BUCKET)
            own = f"arn:aws:s3:::{BUCKET}/lab1/*"
            make_instance_profile(clients, "lab1", policy((["s3:GetObject", "s3:PutObject"], own)))
            yield cloud, clients, make_image(clients, "plain")


def end(clients: Clients, instance: str) -> None:
    clients.ec2.terminate_instances(InstanceIds=[instance])


def run_python(clients: Clients, image: str, code: str, **more: object) -> str:
    """Run Python in an instance and return its console."""
    instance = launch(clients, image, f"python3 - <<'PYTHON'\n{code}\nPYTHON\necho all-done", **more)
    text = printed(clients, instance, "all-done")
    end(clients, instance)
    return text


def test_an_instance_is_apart_from_this_machine(rig: Rig, tmp_path: Path) -> None:
    _, clients, image = rig
    secret = tmp_path / "secret"
    secret.write_text("the machine's own")
    code = f"""
import os, socket, subprocess
print("home", os.path.exists("/home"), "shadow", os.path.exists("/etc/shadow"))
print("secret", os.path.exists({str(secret)!r}))
print("root", sorted(n for n in os.listdir("/root") if not n.startswith(".")))
print("processes", sum(name.isdigit() for name in os.listdir("/proc")) < 8)
print("user", os.getuid(), "host", socket.gethostname().startswith("ip-"))
for path in ("/usr/x", "/usr/lib/x", "/etc/passwd", "/run/mayfly/user-data"):
    try:
        open(path, "a").close(); print("LEAK writable", path)
    except OSError:
        pass
for address in (("192.0.2.1", 443), ("127.0.0.1", 22)):
    try:
        socket.create_connection(address, 1); print("LEAK network", address)
    except OSError:
        pass
for command in (["mount", "-t", "tmpfs", "x", "/mnt"], ["mount", "-o", "remount,rw", "/usr"], ["umount", "/usr"]):
    if subprocess.run(command, capture_output=True).returncode == 0:
        print("LEAK", command)
print("caps", [l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm"))])
open("/tmp/x", "w").close(); open("/var/tmp/x", "w").close(); open("/root/x", "w").close(); open("/dev/shm/x", "w")
print("private ok")
"""
    text = run_python(clients, image, code)
    assert "LEAK" not in text
    assert "home False shadow False" in text
    assert "secret False" in text
    assert "root []" in text
    assert "processes True" in text
    assert "user 0 host True" in text
    assert "caps ['0000000000000000', '0000000000000000']" in text
    assert "private ok" in text


def test_an_instance_knows_itself_through_metadata_version_2_only(rig: Rig) -> None:
    _, clients, image = rig
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "mayfly:task", "Value": "7"}]}]
    code = f"""{METADATA}
print("v1", ask("meta-data/instance-id"))
print("wrong", ask("meta-data/instance-id", **{{"X-aws-ec2-metadata-token": "guess"}}))
for name in ("instance-id", "ami-id", "instance-type", "placement/region", "placement/availability-zone",
             "tags/instance/mayfly:task", "tags/instance/nothing", "spot/instance-action",
             "iam/security-credentials/", "nothing"):
    print(name, get(name))
"""
    instance = launch(
        clients,
        image,
        f"python3 - <<'PYTHON'\n{code}\nPYTHON\necho all-done",
        TagSpecifications=tags,
        MetadataOptions={"InstanceMetadataTags": "enabled"},
    )
    text = printed(clients, instance, "all-done")
    for line in (
        "v1 401",
        "wrong 401",
        f"instance-id {instance}",
        f"ami-id {image}",
        "instance-type t3.small",
        "placement/region us-east-1",
        "placement/availability-zone us-east-1a",
        "tags/instance/mayfly:task 7",
        "tags/instance/nothing 404",
        "spot/instance-action 404",
        "iam/security-credentials/ 404",
        "nothing 404",
    ):
        assert line in text
    end(clients, instance)


SIGNED = """
import datetime, hashlib, hmac, json, os, urllib.parse
role = get("iam/security-credentials/")
key = json.loads(get("iam/security-credentials/" + role))
endpoint = os.environ["AWS_ENDPOINT_URL"]
host = urllib.parse.urlsplit(endpoint).netloc
def call(service, method, path, body=b"", kind=""):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/{service}/aws4_request"
    payload = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": now, "x-amz-security-token": key["Token"]}
    names = ";".join(sorted(headers))
    canonical = "\\n".join([method, path, "", *(f"{n}:{headers[n]}" for n in sorted(headers)), "", names, payload])
    text = "\\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = ("AWS4" + key["SecretAccessKey"]).encode()
    for part in (now[:8], "us-east-1", service, "aws4_request"):
        secret = hmac.new(secret, part.encode(), "sha256").digest()
    signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    if kind:
        headers["content-type"] = kind
    request = u.Request(endpoint + path, method=method, data=body or None, headers=headers)
    try:
        return u.urlopen(request).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
"""


def test_the_role_of_an_instance_reaches_its_own_prefix_and_no_control_plane(rig: Rig) -> None:
    _, clients, image = rig
    clients.s3.put_object(Bucket=BUCKET, Key="lab1/inputs/a", Body=b"mine")
    clients.s3.put_object(Bucket=BUCKET, Key="lab2/inputs/a", Body=b"theirs")
    form = "application/x-www-form-urlencoded"
    code = f"""{METADATA}{SIGNED}
print("role", role)
print("own", call("s3", "GET", "/{BUCKET}/lab1/inputs/a"))
print("write", repr(call("s3", "PUT", "/{BUCKET}/lab1/results/b", b"result")))
print("foreign", call("s3", "GET", "/{BUCKET}/lab2/inputs/a")[:3])
print("who", call("sts", "POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15", {form!r}))
print("iam", call("iam", "POST", "/", b"Action=ListUsers&Version=2010-05-08", {form!r}))
print("ec2", call("ec2", "POST", "/", b"Action=DescribeInstances&Version=2016-11-15", {form!r}))
print("sqs", call("sqs", "POST", "/", b"Action=ListQueues&Version=2012-11-05", {form!r})[:3])
"""
    text = run_python(clients, image, code, IamInstanceProfile={"Name": "lab1"})
    assert "role lab1" in text
    assert "own mine" in text
    assert "write ''" in text
    assert "foreign 403" in text
    assert ":assumed-role/lab1/i-" in text
    assert "iam 403" in text
    assert "ec2 403" in text
    assert "not on offer" in text
    assert "sqs 403" in text
    assert clients.s3.get_object(Bucket=BUCKET, Key="lab1/results/b")["Body"].read() == b"result"


def test_an_instance_starts_in_half_a_second(rig: Rig) -> None:
    _, clients, image = rig
    took: list[float] = []
    while len(took) < TRIES and min(took, default=1.0) >= 0.5:
        began = time.time()
        instance = launch(clients, image, "date +started=%s.%N")
        text = printed(clients, instance, "started=")
        took.append(float(text.partition("started=")[2].split()[0]) - began)
        end(clients, instance)
    assert min(took) < 0.5


def test_a_terminated_instance_is_dead_when_the_call_returns(rig: Rig) -> None:
    _, clients, image = rig
    took: list[float] = []
    while len(took) < TRIES and min(took, default=1.0) >= 1.0:
        nap = a_long_time()
        instance = launch(clients, image, f"sleep {nap} & trap '' TERM; echo up; while :; do sleep {nap}; done")
        printed(clients, instance, "up")
        assert processes_with(nap)
        began = time.monotonic()
        end(clients, instance)
        took.append(time.monotonic() - began)
        assert not processes_with(nap)
        assert not processes_with(instance)
    assert min(took) < 1.0


@pytest.mark.slow
def test_a_shutdown_does_what_was_asked_for_after_the_least_life(rig: Rig) -> None:
    cloud, clients, image = rig
    began = time.monotonic()
    other = launch(clients, image, "poweroff", InstanceInitiatedShutdownBehavior="stop")
    instance = launch(clients, image, "echo bye; shutdown -h now; sleep 1000")
    until(lambda: not (cloud.home / "instances" / instance).exists())
    assert describe(clients, instance)["State"]["Name"] == "running"
    until(lambda: describe(clients, instance)["State"]["Name"] == "terminated")
    assert time.monotonic() - began > 13
    found = describe(clients, instance)
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "bye" in console(clients, instance)
    until(lambda: describe(clients, other)["State"]["Name"] == "stopped")
    end(clients, other)


def test_a_shutdown_can_be_put_off_and_called_off(rig: Rig) -> None:
    cloud, clients, image = rig
    instance = launch(clients, image, "shutdown -h +60 'later'; shutdown -c; shutdown -h +1; shutdown -c; echo set")
    printed(clients, instance, "set")
    printed(clients, instance, "the user data ended with status 0")
    assert describe(clients, instance)["State"]["Name"] == "running"
    assert (cloud.home / "instances" / instance).exists()
    end(clients, instance)


def test_user_data_that_ends_leaves_the_instance_running_and_says_how_it_ended(rig: Rig) -> None:
    _, clients, image = rig
    nap = a_long_time()
    instance = launch(clients, image, f"sleep {nap} & exit 3")
    assert "status 3" in printed(clients, instance, "the user data ended")
    assert processes_with(nap)
    assert describe(clients, instance)["State"]["Name"] == "running"
    end(clients, instance)


def test_the_console_keeps_the_end_of_what_was_printed(rig: Rig) -> None:
    _, clients, image = rig
    instance = launch(clients, image, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the-end")
    text = printed(clients, instance, "the-end")
    assert 60_000 < len(text) <= 65_536
    end(clients, instance)
    assert "the-end" in console(clients, instance)


def test_a_spot_instance_hears_that_it_is_taken_back_and_is_then_gone(rig: Rig) -> None:
    _, clients, image = rig
    script = f"""{METADATA}
import time
print("before", get("spot/instance-action"), flush=True)
while get("spot/instance-action") == "404":
    time.sleep(0.1)
print("notice", get("spot/instance-action"), flush=True)
time.sleep(600)
"""
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    instance = launch(clients, image, f"python3 - <<'PYTHON'\n{script}\nPYTHON", InstanceMarketOptions=market)
    printed(clients, instance, "before 404")
    clients.ec2.create_tags(Resources=[instance], Tags=[{"Key": "localcloud:interrupt", "Value": "4"}])
    printed(clients, instance, 'notice {"action": "terminate"')
    until(lambda: describe(clients, instance)["State"]["Name"] == "terminated")
    assert describe(clients, instance)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_an_instance_without_user_data_has_no_process(rig: Rig) -> None:
    cloud, clients, image = rig
    instance = clients.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert not (cloud.home / "instances" / instance).exists()
    end(clients, instance)


def test_user_data_that_is_no_script_says_so(rig: Rig) -> None:
    _, clients, image = rig
    found = clients.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, UserData="hello")["Instances"][0]
    assert "not a script" in printed(clients, found["InstanceId"], "not run")
    end(clients, found["InstanceId"])


def make_environment(images: Path, digest: str) -> Path:
    """Make a store entry as the image builder does: a venv of an interpreter that may be anywhere, and files."""
    store = images / digest
    (store / "files").mkdir(parents=True)
    (store / "files" / "run.py").write_text("import sys, json\nprint('prefix', sys.prefix, 'base', sys.base_prefix)")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(store / "venv")], check=True)
    (store / "manifest.json").write_text(json.dumps({"digest": digest}))
    return store


def test_the_image_of_an_instance_is_at_its_place_and_read_only(rig: Rig) -> None:
    cloud, clients, _ = rig
    digest = f"{len(cloud.sandbox):064x}"
    make_environment(cloud.home.parent / "images", digest)
    image = make_image(clients, f"iae-{digest}", digest)
    run = "/opt/iae/venv/bin/python /opt/iae/files/run.py && python3 -c 'import ssl, sqlite3; print(\"base works\")'"
    code = f"{run}; touch /opt/iae/files/x || echo cannot-write; echo all-done"
    instance = launch(clients, image, code)
    text = printed(clients, instance, "all-done")
    assert f"prefix /opt/iae/venv base {sys.base_prefix}" in text
    assert "base works" in text
    assert "cannot-write" in text
    end(clients, instance)


def test_a_missing_image_ends_the_instance_with_the_reason(rig: Rig) -> None:
    _, clients, _ = rig
    image = make_image(clients, "lost", "f" * 64)
    instance = launch(clients, image, "echo never")
    until(lambda: describe(clients, instance)["State"]["Name"] == "terminated")
    assert "is not in" in describe(clients, instance)["StateReason"]["Message"]
    assert "is not in" in console(clients, instance)


def test_memory_is_limited_by_the_type(rig: Rig) -> None:
    _, clients, image = rig
    code = "x = bytearray(3 << 30); print('LEAK', len(x))"
    text = run_python(clients, image, code)
    assert "LEAK 3221225472" not in text
    assert "Killed" in text or "MemoryError" in text


@pytest.mark.slow
def test_nothing_outlives_a_killed_cloud(tmp_path: Path) -> None:
    with started(tmp_path) as (cloud, clients):
        image = make_image(clients, "plain")
        nap = a_long_time()
        instance = launch(clients, image, f"sleep {nap} & echo up; sleep {nap}")
        printed(clients, instance, "up")
        assert processes_with(nap)
        os.kill(cloud.pid, signal.SIGKILL)
        until(lambda: not processes_with(nap) and not processes_with(instance))
    with started(tmp_path) as (_, clients):
        found = describe(clients, instance)
        assert found["State"]["Name"] == "terminated"
        assert "embedded cloud was stopped" in found["StateReason"]["Message"]
        assert "up" in console(clients, instance)
