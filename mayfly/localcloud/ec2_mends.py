"""Mends moto's EC2 where it differs from AWS in a way that Terraform or the runner notices.

Each replacement says what it mends; tests/contracts hold the behaviour against the pinned release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.core import responses as core_responses
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import core, iam_instance_profile, instances, security_groups, spot_requests
from moto.ec2.responses import amis, general
from moto.ec2.responses import instances as instance_responses
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix, random_spot_request_id

Profile = Callable[[str | None, str | None], dict[str, Any] | None]
"""Finds an instance profile by name or by ARN."""


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """An instance profile of the other server, as far as moto asks."""

    arn: str
    name: str


class FulfilledSpotRequest(spot_requests.SpotInstanceRequest):  # type: ignore[misc]  # moto has no types
    """The record that an instance bought at spot price has on AWS; without it Terraform replaces the instance."""

    def __init__(self, backend: Any, instance: Any, options: dict[str, str]) -> None:
        """Record an instance that runs already, instead of launching one."""
        self._launched = instance
        super().__init__(
            backend,
            random_spot_request_id(),
            options.get("MaxPrice", ""),
            instance.image_id,
            options.get("SpotInstanceType", "one-time"),
            valid_from=None,
            valid_until=None,
            launch_group=None,
            availability_zone_group=None,
            key_name=instance.key_name,
            security_groups=[],
            user_data=None,
            instance_type=instance.instance_type,
            placement=None,
            kernel_id=None,
            ramdisk_id=None,
            monitoring_enabled=False,
            subnet_id=instance.subnet_id,
            tags={},
            spot_fleet_id=None,
            instance_interruption_behaviour=options.get("InstanceInterruptionBehavior"),
        )

    def launch_instance(self) -> Any:
        """Return the instance that was launched before."""
        return self._launched


def mend(*, find_profile: Profile, console: Callable[[str], bytes]) -> None:
    """Install the replacements; call once, before the first request.

    Args:
        find_profile: asks the server that has IAM.
        console: what an instance printed.
    """
    _mend_profiles(find_profile)
    _mend_running()
    _mend_shutdown_behaviour()
    _mend_reasons()
    _mend_images()
    _mend_security_groups()
    _mend_look_ups()

    def get_console_output(self: Any) -> Any:
        # moto answers every call with the same sample text.
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        output = Base64EncodedString.from_raw_string(console(instance.id).decode("utf-8", "replace"))
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})

    general.General.get_console_output = get_console_output


def _mend_profiles(find_profile: Profile) -> None:
    # moto looks instance profiles up in its own IAM; ours is the other server's.
    def find(
        account_id: str,
        partition: str,
        iam_instance_profile_arn: str | None = None,
        iam_instance_profile_name: str | None = None,
    ) -> KnownProfile:
        del account_id, partition
        found = find_profile(iam_instance_profile_name, iam_instance_profile_arn)
        if found is None:
            asked = iam_instance_profile_name or iam_instance_profile_arn
            raise EC2ClientError(
                "InvalidParameterValue", f"Value ({asked}) for parameter iamInstanceProfile is invalid."
            )
        return KnownProfile(found["Arn"], found["InstanceProfileName"])

    iam_instance_profile.filter_iam_instance_profiles = find
    instance_responses.filter_iam_instance_profiles = find


def _mend_running() -> None:
    # moto gives a client token that is used twice two sets of instances, spot instances no request record, and only
    # the first of several instances its profile.
    run = instance_responses.InstanceResponse.run_instances

    def run_instances(self: Any) -> Any:
        backend = self.ec2_backend
        token = self._get_param("ClientToken")
        for reservation in backend.reservations.values() if token else ():
            if reservation.instances and reservation.instances[0].client_token == token:
                return ActionResult(reservation)
        if not self.ec2_backend.describe_images(filters={"image-id": self._get_param("ImageId")}):
            raise EC2ClientError(
                "InvalidAMIID.NotFound", f"The image id '[{self._get_param('ImageId')}]' does not exist"
            )
        result = run(self)
        launched = result.result.instances
        profile = {
            "iam_instance_profile_name": self._get_param("IamInstanceProfile.Name"),
            "iam_instance_profile_arn": self._get_param("IamInstanceProfile.Arn"),
        }
        for instance in launched[1:] if any(profile.values()) else ():
            backend.associate_iam_instance_profile(instance.id, **profile)
        if self._get_param("InstanceMarketOptions.MarketType") == "spot":
            for instance in launched:
                options = self._get_param("InstanceMarketOptions.SpotOptions", {})
                request = FulfilledSpotRequest(backend, instance, options)
                backend.spot_instance_requests[request.id] = request
                instance.spot_instance_request_id = request.id
        return result

    instance_responses.InstanceResponse.run_instances = run_instances


def _mend_shutdown_behaviour() -> None:
    # ModifyInstanceAttribute(InstanceInitiatedShutdownBehavior) takes every security group off the instance.
    change = instance_responses.InstanceResponse._security_grp_instance_attribute_handler

    def change_groups(self: Any) -> bool:
        behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
        if behaviour:
            instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
            instance.instance_initiated_shutdown_behavior = behaviour
            return True
        return bool(change(self)) if self._get_param("Groups", []) else False

    instance_responses.InstanceResponse._security_grp_instance_attribute_handler = change_groups


def _mend_reasons() -> None:
    # AWS writes the time of a transition in GMT; a second termination must not change when the first one was.
    for name in ("terminate", "stop"):
        end = getattr(instances.Instance, name)

        def ended(self: Any, end: Any = end) -> Any:
            if self.state == "terminated":
                return instances.InstanceState("terminated", 48)
            before = end(self)
            self._reason = f"User initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)"
            return before

        setattr(instances.Instance, name, ended)


def _mend_security_groups() -> None:
    # moto deletes a security group that an instance is in; on AWS whoever cleans up must end the instance first.
    delete = security_groups.SecurityGroupBackend._delete_security_group

    def delete_group(self: Any, vpc: str | None, group: str) -> Any:
        for instance in self.all_instances():
            if instance.state != "terminated" and any(found.id == group for found in instance.security_groups):
                raise EC2ClientError("DependencyViolation", f"resource {group} has a dependent object")
        return delete(self, vpc, group)

    security_groups.SecurityGroupBackend._delete_security_group = delete_group


def _mend_look_ups() -> None:
    # To find the tags of one resource moto goes through those of all, for every instance of every answer: with 70
    # instances half of the time of this process.
    def get_tags(self: Any) -> list[dict[str, str]]:
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if self.id else ""
        return [
            {"resource_id": self.id, "key": key, "value": value, "resource_type": kind}
            for key, value in self.ec2_backend.tags.get(self.id, {}).items()
        ]

    core.TaggedEC2Resource.get_tags = get_tags
    # To find the method of an action it lists those of the class, anew for each call.
    core_responses.method_names_from_class = cache(core_responses.method_names_from_class)


def _mend_images() -> None:
    # RegisterImage forgets architecture, tags and root device; a plan after an apply would then show changes.
    register = amis.AmisResponse.register_image

    def register_image(self: Any) -> Any:
        name = self._get_param("Name")
        if any(image.name == name for image in self.ec2_backend.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
        result = register(self)
        image = self.ec2_backend.amis[result.result["ImageId"]]
        image.architecture = self._get_param("Architecture") or "x86_64"
        image.virtualization_type = self._get_param("VirtualizationType") or "hvm"
        image.hypervisor, image.root_device_type = "xen", "ebs"
        image.root_device_name = self._get_param("RootDeviceName") or "/dev/xvda"
        image.add_tags(self._parse_tag_specification().get("image", {}))
        return result

    amis.AmisResponse.register_image = register_image
