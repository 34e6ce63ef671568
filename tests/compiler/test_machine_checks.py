"""The resource bank against what EC2 and EBS have."""

from __future__ import annotations

import re

import pytest

from compiler.blueprint import LARGEST_VOLUME_GB, VolumeType
from compiler.shape import load_schema
from tests.compiler.projects import REPOSITORY, Project

HEAD = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'


def bank(*choices: str, more: str = "") -> str:
    """A blueprint with a resource bank; each choice starts in a line of its own, from line 5 on."""
    rows = "".join(f"  - {{{choice}}}\n" for choice in choices)
    return f"id: tiny\ntitle: T\nstage: public\nresources:\n{rows}{more}"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("instance_type: m5.lrage", "instance_type: 'm5.lrage' is not an instance type of the catalogue. Did you mean"),
        ("instance_type: u7i-12tb.224xlarge", "no price of 'u7i-12tb.224xlarge' is known, so no cost can be bounded."),
        ("instance_type: m7g.large", "m7g.large is arm64, and the image is x86_64. Choose another machine, or set"),
        (
            "instance_type: m5.large, gpus: 1",
            "gpus: 1 GPU is counted on, and m5.large has none. The cheapest that has is",
        ),
        (
            "instance_type: g5.xlarge, gpus: 4",
            "4 GPUs are counted on, and g5.xlarge has 1 of them. The cheapest that has",
        ),
        ("instance_type: g4dn.xlarge, gpus: 16", "No machine of the catalogue has."),
        (
            "instance_type: m5.large, region: us-eas-1",
            "region: there is no region 'us-eas-1'. Did you mean 'us-east-1'?",
        ),
        ("instance_type: g6.xlarge, region: af-south-1", "g6 machines are not offered in af-south-1."),
        (
            "instance_type: m5.large, zones: [us-east-1z]",
            "zones[0]: 'us-east-1z' is not a zone of us-east-1: it has us-",
        ),
        ("instance_type: m5.large, zones: [eu-west-1a]", "'eu-west-1a' is not a zone of us-east-1"),
        ("instance_type: m5.large, zones: [a]", 'zones[0]: "a" is not an availability zone such as us-east-1a.'),
        ("instance_type: m5.large, price: cheap", 'price: "cheap" is none of "standard", "save".'),
        ("instance_type: m5.large, volume_type: st1", 'volume_type: "st1" is none of "gp2", "gp3", "io1", "io2".'),
        ("instance_type: m5.large, volume_type: gp2, iops: 3000", "iops: the iops of a gp2 volume cannot be chosen."),
        (
            "instance_type: m5.large, volume_type: io1, volume_gb: 3, iops: 100",
            "volume_gb: a io1 volume has 4 to 16384",
        ),
        ("instance_type: m5.large, volume_type: io2", "iops: is missing: a io2 volume is bought by its iops."),
        (
            "instance_type: m5.large, volume_type: io1, iops: 1001",
            "a io1 volume of 20 GB has at most 1000 iops, 50 for",
        ),
        ("instance_type: m5.large, volume_type: io2, iops: 20001", "a io2 volume of 20 GB has at most 20000 iops"),
        (
            "instance_type: m5.large, volume_gb: 20, iops: 10001",
            "a gp3 volume of 20 GB has at most 10000 iops, 500 for",
        ),
        ("instance_type: m5.large, volume_gb: 500, iops: 80001", "a gp3 volume has 3000 to 80000 iops, not 80001."),
        ("instance_type: m5.large, iops: 200", "a gp3 volume has 3000 to 80000 iops, not 200."),
        (
            "instance_type: m5.large, throughput: 751",
            "751 MiB/s are more than 3000 iops carry, 750. Raise iops to at least 3004",
        ),
        (
            "instance_type: m5.large, volume_type: gp2, throughput: 200",
            "the throughput of a gp2 volume cannot be chosen.",
        ),
    ],
)
def test_a_machine_that_aws_does_not_have_is_refused(project: Project, choice: str, expected: str) -> None:
    project.add_blueprint("tiny", bank(choice))
    (message,) = project.errors()
    assert message.startswith("blueprints/tiny/blueprint.yaml:5:")
    assert expected in message


@pytest.mark.parametrize(
    "choice",
    [
        "instance_type: g5.12xlarge, gpus: 4",
        "instance_type: g5.12xlarge, gpus: 1",
        "instance_type: m5.large, gpus: 0, zones: [us-east-1a, us-east-1f], price: save",
        "instance_type: m5.large, volume_gb: 1, iops: 3000, throughput: 750",
        "instance_type: m5.large, volume_gb: 160, iops: 80000, throughput: 2000",
        "instance_type: m5.large, volume_type: io1, volume_gb: 20, iops: 1000",
        "instance_type: m5.large, volume_type: io2, volume_gb: 256, iops: 256000",
        "instance_type: m5.large, volume_type: gp2",
    ],
)
def test_a_machine_that_aws_has_is_taken(project: Project, choice: str) -> None:
    project.add_blueprint("tiny", bank(choice))
    assert project.errors() == project.warnings() == []


def test_a_volume_larger_than_all_parts_bear_is_refused(project: Project) -> None:
    for kind in VolumeType:
        more = ", iops: 100" if kind.startswith("io") else ""
        project.add_blueprint("tiny", bank(f"instance_type: m5.large, volume_gb: 16384, volume_type: {kind}{more}"))
        assert project.errors() == []
        project.add_blueprint("tiny", bank(f"instance_type: m5.large, volume_gb: 16385, volume_type: {kind}{more}"))
        (message,) = project.errors()
        assert "resources[0].volume_gb: must be at most 16384, not 16385." in message


def test_the_module_takes_every_volume_that_the_check_takes() -> None:
    module = (REPOSITORY / "modules" / "job" / "variables.tf").read_text(encoding="utf-8")
    bounds = re.search(r"var\.volume_gb >= (\d+) && var\.volume_gb <= (\d+)", module)
    assert bounds
    told = load_schema("blueprint")["properties"]["resources"]["items"]["properties"]["volume_gb"]
    assert (told["minimum"], told["maximum"]) == (int(bounds[1]), int(bounds[2])) == (1, LARGEST_VOLUME_GB)


def test_machines_of_the_image_s_architecture_are_taken(project: Project) -> None:
    project.add_blueprint("tiny", bank("instance_type: m7g.large", more="environment: {architecture: arm64}\n"))
    assert project.errors() == []


def test_a_machine_is_listed_once_but_may_be_bought_in_two_ways(project: Project) -> None:
    same = "instance_type: m5.large"
    project.add_blueprint("tiny", bank(same, f"{same}, price: save", f"{same}, price: standard"))
    assert project.errors() == [
        "blueprints/tiny/blueprint.yaml:7:5: resources[2]: is the same machine as resources[0]. Keep one."
    ]


def test_a_machine_far_from_its_data_is_a_warning(project: Project) -> None:
    project.add_blueprint("tiny", bank("instance_type: m5.large, region: eu-west-1"))
    assert project.errors() == []
    message, price = project.warnings()
    assert "the price of m5.large in eu-west-1 is estimated" in price
    assert "the machine is in eu-west-1, the data in us-east-1: each transfer is paid for and slow." in message


def test_on_aws_each_region_of_the_bank_needs_an_image(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "cloud: aws\nstate: {bucket: my-state}\n")
    choices = ("instance_type: m5.large", "instance_type: m5.large, region: us-west-2")
    project.add_blueprint("tiny", bank(*choices, more="environment: {image: {us-east-1: ami-0123456789abcdef0}}\n"))
    text = "\n".join(project.warnings())
    assert ":7:22: environment.image: names no image for us-west-2, where its machines are" in text
    assert "names no image for us-east-1" not in text


def test_the_region_of_the_deployment_exists(project: Project) -> None:
    project.write("mayfly.yaml", HEAD.replace("us-east-1", "us-eas-1"))
    assert "mayfly.yaml:3:9: region: there is no region 'us-eas-1'. Did you mean 'us-east-1'?" in project.errors()


@pytest.mark.parametrize(
    ("old", "new"), [("p3dn.24xlarge", "p4d.24xlarge"), ("p2.8xlarge", "g5.48xlarge"), ("t2.micro", "t3.micro")]
)
def test_machines_of_old_families_name_their_successor(project: Project, old: str, new: str) -> None:
    project.add_blueprint("tiny", bank(f"instance_type: {old}"))
    assert project.errors() == []
    assert any(message.endswith(f"Its successor is {new}.") for message in project.warnings())
