"""What mayfly.yaml says of vCPU quotas and of prices: how it is read, and what is checked against it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from compiler.catalogue import list_prices, reference_region
from compiler.deployment import PlatformLimits
from compiler.load import load_platform
from compiler.prices import SAFETY, Basis, Quote, quote
from compiler.shape import load_schema
from state.vcpus import ELSEWHERE, Family, RegionQuotas
from tests.compiler.projects import MINIMAL, Project
from tests.fakes.platform import a_platform

HEAD = 'name: demo\naccount: "123456789012"\nregion: us-east-1\n'


def limits_of(project: Project) -> PlatformLimits:
    return load_platform(project.folder).deployment.limits


def bank(*choices: str) -> str:
    return "id: tiny\ntitle: T\nstage: public\nresources:\n" + "".join(f"  - {{{choice}}}\n" for choice in choices)


def test_quotas_are_said_in_three_degrees_of_detail(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "limits: {vcpus: 64}\n")
    assert limits_of(project).vcpus == 64
    quotas = "us-east-1: {standard: 256, g: 64, p: 0, spot: {standard: 640, g: 8}}, eu-west-1: 20, elsewhere: {p: 1}"
    project.write("mayfly.yaml", HEAD + f"limits: {{vcpus: {{{quotas}}}}}\n")
    assert limits_of(project).vcpus == {
        "us-east-1": RegionQuotas(
            on_demand={Family.STANDARD: 256, Family.G: 64, Family.P: 0}, spot={Family.STANDARD: 640, Family.G: 8}
        ),
        "eu-west-1": RegionQuotas(total=20),
        ELSEWHERE: RegionQuotas(on_demand={Family.P: 1}),
    }


def test_the_schema_names_every_family_in_both_markets() -> None:
    told = load_schema("deployment")["$defs"]["quotas"]["properties"]
    names = {str(family) for family in Family}
    assert told.keys() == {*names, "spot"}
    assert told["spot"]["properties"].keys() == names


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "limits:\n  vcpus:\n    us-eas-1: {g: 8}\n",
            "mayfly.yaml:6:5: limits.vcpus.us-eas-1: there is no region 'us-eas-1'. Did you mean 'us-east-1'?",
        ),
        (
            "limits:\n  vcpus:\n    us-east-1: {standrad: 8}\n",
            "mayfly.yaml:6:17: limits.vcpus.us-east-1.standrad: is not a key that this place has. Did you mean 'stand",
        ),
        (
            "limits:\n  vcpus:\n    us-east-1: {spot: {k: 8}}\n",
            "limits.vcpus.us-east-1.spot.k: is not a key that this place has. Known here: dl, f, g, high_memory, hpc,",
        ),
        ("limits: {vcpus: {us-east-1: {g: -1}}}\n", "limits.vcpus.us-east-1.g: must be at least 0, not -1."),
        ("limits: {vcpus: {us-east-1: {}}}\n", "limits.vcpus.us-east-1: needs at least 1"),
        ("limits: {vcpus: many}\n", 'limits.vcpus: must be a whole number or a mapping, not "many".'),
        ("limits: {vcpus: 0}\n", "limits.vcpus: must be at least 1, not 0."),
        ("limits: {vcpus: {'*': 8}}\n", '"*" is neither a region such as us-east-1 nor `elsewhere`'),
        (
            "prices:\n  us-wset-2: {m5.large: 1}\n",
            "mayfly.yaml:5:3: prices.us-wset-2: there is no region 'us-wset-2'. Did you mean 'us-west-2'?",
        ),
        (
            "prices:\n  us-west-2: {m5.lrage: 1}\n",
            "mayfly.yaml:5:15: prices.us-west-2.m5.lrage: 'm5.lrage' is not an instance type of the catalogue. Did you",
        ),
        ("prices: {us-west-2: {m5.large: 0}}\n", "prices.us-west-2.m5.large: must be more than 0, not 0."),
        ("prices: {us-west-2: {m5: 1}}\n", '"m5" is not an instance type such as m5.large.'),
    ],
)
def test_a_mistake_names_its_place(project: Project, more: str, expected: str) -> None:
    project.write("mayfly.yaml", HEAD + more)
    (message,) = project.errors()
    assert expected in message


def test_a_blueprint_without_a_machine_that_fits_is_an_error(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "limits: {vcpus: {us-east-1: {g: 4, p: 0}}}\n")
    project.add_blueprint("tiny", bank("instance_type: g5.2xlarge, gpus: 1", "instance_type: p3.2xlarge, gpus: 1"))
    (message,) = project.errors()
    assert message == (
        "blueprints/tiny/blueprint.yaml:5:3: resources: no machine fits into limits.vcpus: g5.2xlarge has 8 vCPUs, and "
        "us-east-1, G and VT on demand gives 4; p3.2xlarge has 8 vCPUs, and us-east-1, P on demand gives 0. Raise "
        "limits.vcpus of mayfly.yaml as far as AWS's quotas go, or add a machine that fits."
    )
    assert not any("is never tried" in message for message in project.warnings())


def test_a_machine_that_does_not_fit_is_a_warning_while_another_does(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "limits: {vcpus: {us-east-1: {g: 4, standard: 2, spot: {standard: 1}}}}\n")
    project.add_blueprint("tiny", bank("instance_type: g5.2xlarge, gpus: 1", "instance_type: m5.large, price: save"))
    assert project.errors() == []
    first, second = project.warnings()
    assert first.startswith(
        "blueprints/tiny/blueprint.yaml:5:21: resources[0].instance_type: is never tried: g5.2xlarge"
    )
    assert first.endswith("Raise limits.vcpus of mayfly.yaml as far as AWS's quota goes, or remove this choice.")
    assert ":6:38: resources[1].price: is never tried: m5.large has 2 vCPUs, and us-east-1, Standard spot" in second


def test_a_save_price_that_fits_is_enough_and_drafts_are_left_alone(project: Project) -> None:
    project.write("mayfly.yaml", HEAD + "limits: {vcpus: {us-east-1: {standard: 1}}}\n")
    project.add_blueprint("tiny", bank("instance_type: m5.large, price: save"))
    assert project.errors() == []
    project.add_blueprint("tiny", bank("instance_type: m5.large").replace("public", "draft"))
    assert project.errors() == []
    assert not any("vCPUs" in message for message in project.warnings())


def test_one_figure_for_a_region_holds_every_machine_there(project: Project) -> None:
    for figure in ("1", "{us-east-1: 1}", "{elsewhere: 1}"):
        project.write("mayfly.yaml", HEAD + f"limits: {{vcpus: {figure}}}\n")
        assert "t3.medium has 2 vCPUs, and us-east-1 gives 1" in project.errors()[0]
    project.write("mayfly.yaml", HEAD + "limits: {vcpus: {eu-west-1: 1}}\n")
    assert project.errors() == project.warnings() == []


# Prices ---------------------------------------------------------------------------------------------------------------


def test_the_deployments_own_price_comes_first_then_the_list_of_the_region_then_an_estimate() -> None:
    deployment = a_platform().deployment
    listed = list_prices()[reference_region()]["m5.large"]
    assert quote(deployment, "m5.large", None) == Quote(hourly_usd=listed, basis=Basis.LISTED)
    estimated = quote(deployment, "m5.large", "eu-central-1")
    assert estimated == Quote(hourly_usd=listed * SAFETY, basis=Basis.ESTIMATED)
    assert estimated.is_estimated
    own = replace(deployment, prices={"eu-central-1": {"m5.large": Decimal("0.115")}})
    assert quote(own, "m5.large", "eu-central-1") == Quote(hourly_usd=Decimal("0.115"), basis=Basis.OWN)
    assert quote(own, "m5.large", "us-east-1") == Quote(hourly_usd=listed, basis=Basis.LISTED)
    contract = replace(deployment, prices={"us-east-1": {"m5.large": Decimal("0.07")}})
    assert quote(contract, "m5.large", None) == Quote(hourly_usd=Decimal("0.07"), basis=Basis.OWN)
    assert quote(deployment, "u7i-12tb.224xlarge", None) is None


def test_no_region_is_silently_priced_as_another(project: Project) -> None:
    project.write("mayfly.yaml", HEAD.replace("us-east-1", "eu-central-1"))
    project.add_blueprint("tiny", MINIMAL)
    assert project.errors() == []
    (message,) = project.warnings()
    assert message == (
        "blueprints/tiny/blueprint.yaml:5:20: resources[0].instance_type: the price of t3.medium in eu-central-1 is "
        "estimated: 0.0832 USD an hour, 2 times that of us-east-1. Say the real one: `prices: {eu-central-1: "
        "{t3.medium: USD per hour}}` in mayfly.yaml."
    )
    project.write(
        "mayfly.yaml", HEAD.replace("us-east-1", "eu-central-1") + "prices: {eu-central-1: {t3.medium: 0.048}}"
    )
    assert project.errors() == project.warnings() == []


def test_a_machine_that_no_list_has_can_be_priced(project: Project) -> None:
    project.add_blueprint("tiny", bank("instance_type: u7i-12tb.224xlarge"))
    (message,) = project.errors()
    assert message.endswith("or say `prices: {us-east-1: {u7i-12tb.224xlarge: USD per hour}}` in mayfly.yaml.")
    project.write("mayfly.yaml", HEAD + "prices: {us-east-1: {u7i-12tb.224xlarge: 110}}\n")
    assert project.errors() == []


def test_what_a_default_task_costs_is_reckoned_at_the_deployments_price(project: Project) -> None:
    project.add_blueprint("tiny", MINIMAL + "limits: {cost: 1}\n")
    assert project.warnings() == []
    project.write("mayfly.yaml", HEAD + "prices: {us-east-1: {t3.medium: 2.5}}\n")
    assert "one default task may cost 2.5000 USD, more than a job may, 1 USD." in "\n".join(project.warnings())
