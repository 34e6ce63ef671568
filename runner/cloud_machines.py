"""The EC2 half of AwsCloud: instances, what jobs leave behind, and images. Uses a client, never makes one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from runner.cloud_reading import leftover_of, newest_image, read_instance, read_leftover
from runner.cloud_values import DEPLOYMENT_TAG, IMAGE_TAG, JOB_TAG, Instances, Leftover, LeftoverKind, Leftovers
from state.errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef

_NOT_FOUND = frozenset({"InvalidInstanceID.NotFound", "InvalidVolume.NotFound", "InvalidGroup.NotFound"})


class Machines:
    """EC2's calls; the class that inherits them brings the client and the mapping of errors."""

    @property
    def _ec2(self) -> EC2Client:
        raise NotImplementedError

    def _calling(self, service: str, doing: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def instances(self, *, deployment: str, job: str | None = None) -> Instances:
        """Return a deployment's (or one job's) instances, recently terminated ones too, sorted by job and task."""
        with self._calling("ec2", f"looking for the instances of {job or deployment}"):
            pages = self._ec2.get_paginator("describe_instances").paginate(Filters=_filters(deployment, job))
            found = [
                read_instance(one) for page in pages for group in page["Reservations"] for one in group["Instances"]
            ]
        return sorted(found, key=lambda i: (i.job, i.task, i.launched, i.id))

    def leftovers(self, *, deployment: str, job: str | None = None) -> Leftovers:
        """Return what is still there of a deployment's jobs (or of one job), in the order to remove it."""
        alive = [leftover_of(i) for i in self.instances(deployment=deployment, job=job) if not i.is_gone]
        ours = _filters(deployment, job)
        with self._calling("ec2", f"looking for leftovers of {job or deployment}"):
            disks = [
                read_leftover(LeftoverKind.VOLUME, one)
                for page in self._ec2.get_paginator("describe_volumes").paginate(Filters=ours)
                for one in page["Volumes"]
                if one["State"] not in {"deleting", "deleted"}
            ]
            walls = [
                read_leftover(LeftoverKind.SECURITY_GROUP, one)
                for page in self._ec2.get_paginator("describe_security_groups").paginate(Filters=ours)
                for one in page["SecurityGroups"]
            ]
        return [one for kind in (alive, disks, walls) for one in sorted(kind, key=lambda thing: thing.id)]

    def remove(self, leftover: Leftover) -> None:
        """Start removing a leftover; one that is gone counts as removed. Retryable while another thing holds it."""
        try:
            with self._calling("ec2", f"removing {leftover.kind} {leftover.id}"):
                if leftover.kind is LeftoverKind.INSTANCE:
                    self._ec2.terminate_instances(InstanceIds=[leftover.id])
                elif leftover.kind is LeftoverKind.VOLUME:
                    self._ec2.delete_volume(VolumeId=leftover.id)
                else:
                    self._ec2.delete_security_group(GroupId=leftover.id)
        except CloudError as error:
            if error.code not in _NOT_FOUND:
                raise

    def console(self, instance: str) -> str:
        """Return what an instance printed to its console; may lag, and may be empty."""
        with self._calling("ec2", f"reading the console of {instance}"):
            return self._ec2.get_console_output(InstanceId=instance).get("Output", "")

    def spot_price(self, instance_type: str, zone: str) -> Decimal | None:
        """Return what spot capacity of a type costs in a zone now, USD per hour; None when EC2 does not say."""
        with self._calling("ec2", f"asking for the spot price of {instance_type} in {zone}"):
            found = self._ec2.describe_spot_price_history(
                InstanceTypes=[cast("Any", instance_type)],
                AvailabilityZone=zone,
                ProductDescriptions=["Linux/UNIX"],
                StartTime=datetime.now(UTC),
                MaxResults=1,
            )["SpotPriceHistory"]
        return Decimal(found[0]["SpotPrice"]) if found else None

    def find_image(self, digest: str) -> str | None:
        """Return the AMI that was registered for an IAE's digest."""
        with self._calling("ec2", f"looking for the image of IAE {digest}"):
            found = self._ec2.describe_images(
                Owners=["self"],
                Filters=[{"Name": f"tag:{IMAGE_TAG}", "Values": [digest]}, {"Name": "state", "Values": ["available"]}],
            )
        return newest_image(found["Images"])

    def register_image(self, *, name: str, digest: str, architecture: str) -> str:
        """Register an AMI for an IAE's digest and return its id; again for the same name gives the same id.

        The tag is put on in a second call, because not every EC2 takes it in the first; a process that died between
        the two is made good here.
        """
        with self._calling("ec2", f"registering the image {name}"):
            same_name = [{"Name": "name", "Values": [name]}]
            ami = newest_image(self._ec2.describe_images(Owners=["self"], Filters=cast("Any", same_name))["Images"])
            if ami is None:
                ami = self._ec2.register_image(
                    Name=name,
                    Architecture=cast("Any", architecture),
                    RootDeviceName="/dev/xvda",
                    VirtualizationType="hvm",
                    EnaSupport=True,
                )["ImageId"]
            self._ec2.create_tags(Resources=[ami], Tags=[{"Key": IMAGE_TAG, "Value": digest}])
        return ami


def _filters(deployment: str, job: str | None) -> list[FilterTypeDef]:
    """Return the filter by tags that finds a deployment's, or one job's, resources."""
    wanted = {DEPLOYMENT_TAG: deployment} | ({JOB_TAG: job} if job is not None else {})
    return [{"Name": f"tag:{tag}", "Values": [value]} for tag, value in wanted.items()]
