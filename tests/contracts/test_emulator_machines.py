"""EC2's control plane, as Terraform and the runner rely on it, asked of the embedded cloud."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.mayfly.localcloud.rig import Clients, describe, launch, make_image, make_instance_profile, policy, started

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with started(tmp_path_factory.mktemp("cloud")) as (_, found):
        make_instance_profile(found, "lab-instance-lab1", policy(("s3:GetObject", "arn:aws:s3:::x/*")))
        yield found


@pytest.fixture(scope="module")
def image(clients: Clients) -> str:
    return make_image(clients, "iae-0123", "0123")


def run_idle(clients: Clients, image: str, **more: object) -> str:
    wanted = {"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    return str(clients.ec2.run_instances(**{**wanted, **more})["Instances"][0]["InstanceId"])


def test_an_image_keeps_its_tags_architecture_and_name(clients: Clients, image: str) -> None:
    found = clients.ec2.describe_images(Filters=[{"Name": "tag:mayfly:iae", "Values": ["0123"]}])["Images"]
    assert [i["ImageId"] for i in found] == [image]
    wanted = ("x86_64", "available", "/dev/xvda", "hvm")
    assert tuple(found[0][k] for k in ("Architecture", "State", "RootDeviceName", "VirtualizationType")) == wanted
    tagged = clients.ec2.register_image(
        Name="tagged",
        Architecture="arm64",
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "mayfly:iae", "Value": "4567"}]}],
    )["ImageId"]
    found = clients.ec2.describe_images(ImageIds=[tagged])["Images"][0]
    assert (found["Architecture"], found["Tags"]) == ("arm64", [{"Key": "mayfly:iae", "Value": "4567"}])


def test_an_image_name_is_taken_once(clients: Clients) -> None:
    make_image(clients, "taken")
    with pytest.raises(ClientError) as error:
        make_image(clients, "taken")
    assert error.value.response["Error"]["Code"] == "InvalidAMIName.Duplicate"


def test_an_instance_is_what_was_asked_for(clients: Clients, image: str) -> None:
    group = clients.ec2.create_security_group(GroupName="job-1", Description="job 1")["GroupId"]
    instance = run_idle(
        clients,
        image,
        SecurityGroupIds=[group],
        IamInstanceProfile={"Name": "lab-instance-lab1"},
        InstanceInitiatedShutdownBehavior="terminate",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        TagSpecifications=[
            {"ResourceType": kind, "Tags": [{"Key": "mayfly:job", "Value": "job-1"}]} for kind in ("instance", "volume")
        ],
    )
    by_tag = [{"Name": "tag:mayfly:job", "Values": ["job-1"]}]
    alive = [*by_tag, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
    found = clients.ec2.describe_instances(Filters=alive)["Reservations"][0]["Instances"]
    assert [i["InstanceId"] for i in found] == [instance]
    assert [g["GroupId"] for g in found[0]["SecurityGroups"]] == [group]
    assert found[0]["IamInstanceProfile"]["Arn"].endswith(":instance-profile/lab-instance-lab1")
    assert found[0]["MetadataOptions"]["HttpTokens"] == "required"
    behaviour = clients.ec2.describe_instance_attribute(
        InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    volume = clients.ec2.describe_volumes(Filters=by_tag)["Volumes"][0]
    assert (volume["Size"], volume["Encrypted"], volume["Attachments"][0]["InstanceId"]) == (30, True, instance)
    with pytest.raises(ClientError) as error:
        clients.ec2.delete_security_group(GroupId=group)
    assert error.value.response["Error"]["Code"] == "DependencyViolation"
    clients.ec2.terminate_instances(InstanceIds=[instance])
    assert clients.ec2.describe_volumes(Filters=by_tag)["Volumes"] == []
    clients.ec2.delete_security_group(GroupId=group)


def test_changing_the_shutdown_behaviour_leaves_the_security_groups(clients: Clients, image: str) -> None:
    group = clients.ec2.create_security_group(GroupName="job-2", Description="job 2")["GroupId"]
    instance = run_idle(clients, image, SecurityGroupIds=[group])
    clients.ec2.modify_instance_attribute(InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    assert [g["GroupId"] for g in describe(clients, instance)["SecurityGroups"]] == [group]


def test_a_spot_instance_has_a_request_that_names_it(clients: Clients, image: str) -> None:
    market = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.5", "SpotInstanceType": "one-time"}}
    instance = run_idle(clients, image, InstanceMarketOptions=market)
    found = describe(clients, instance)
    assert found["InstanceLifecycle"] == "spot"
    requests = clients.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[found["SpotInstanceRequestId"]])
    request = requests["SpotInstanceRequests"][0]
    assert (request["InstanceId"], request["State"], request["SpotPrice"]) == (instance, "active", "0.500000")


def test_the_same_client_token_gives_the_same_instance(clients: Clients, image: str) -> None:
    assert run_idle(clients, image, ClientToken="t-1") == run_idle(clients, image, ClientToken="t-1")


def test_several_instances_of_one_call_have_one_profile_each(clients: Clients, image: str) -> None:
    profile = {"Name": "lab-instance-lab1"}
    found = clients.ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, IamInstanceProfile=profile)["Instances"]
    assert all("IamInstanceProfile" in describe(clients, i["InstanceId"]) for i in found)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
        ({"SecurityGroupIds": ["sg-00000000000000000"]}, "InvalidGroup.NotFound"),
    ],
)
def test_what_does_not_exist_is_refused_by_its_code(
    clients: Clients, image: str, more: dict[str, object], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        run_idle(clients, image, **more)
    assert error.value.response["Error"]["Code"] == code


def test_terminating_says_when_and_by_whom_and_twice_changes_nothing(clients: Clients, image: str) -> None:
    instance = run_idle(clients, image)
    clients.ec2.terminate_instances(InstanceIds=[instance])
    first = describe(clients, instance)
    assert first["State"]["Name"] == "terminated"
    assert first["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert first["StateTransitionReason"].startswith("User initiated (2")
    assert first["StateTransitionReason"].endswith(" GMT)")
    again = clients.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
    assert again["PreviousState"]["Name"] == "terminated"
    assert describe(clients, instance)["StateTransitionReason"] == first["StateTransitionReason"]


def test_user_data_comes_back_as_it_was_given(clients: Clients, image: str) -> None:
    instance = launch(clients, image, "echo 'ünïcode'")
    found = clients.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(found).decode() == "#!/bin/bash\necho 'ünïcode'\n"
    clients.ec2.terminate_instances(InstanceIds=[instance])
