from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.vcpus import (
    ELSEWHERE,
    Family,
    Got,
    Need,
    Quota,
    RegionQuotas,
    claims_on,
    counts_families,
    family_of,
    most_of,
    read_needs,
    write_needs,
)

HOME = "us-east-1"
G, SPOT_G = Quota(region=HOME, family=Family.G), Quota(region=HOME, family=Family.G, spot=True)
STANDARD = Quota(region=HOME, family=Family.STANDARD)
NEEDS = (
    Need(family=Family.G, spot=True, vcpus=8),
    Need(family=Family.G, spot=False, vcpus=8),
    Need(family=Family.G, spot=False, vcpus=16),
    Need(family=Family.STANDARD, spot=False, vcpus=4),
)


@pytest.mark.parametrize(
    ("instance_type", "family"),
    [
        *(
            (name, Family.STANDARD)
            for name in ("m5.large", "c7i-flex.large", "im4gn.large", "is4gen.large", "z1d.large")
        ),
        *((name, Family.G) for name in ("g4dn.xlarge", "gr6.4xlarge", "vt1.3xlarge")),
        ("hpc6a.48xlarge", Family.HPC),
        ("h1.2xlarge", Family.STANDARD),
        ("p4d.24xlarge", Family.P),
        ("inf2.xlarge", Family.INF),
        ("i4i.large", Family.STANDARD),
        ("trn1.2xlarge", Family.TRN),
        ("t3.micro", Family.STANDARD),
        ("dl2q.24xlarge", Family.DL),
        ("d3.xlarge", Family.STANDARD),
        ("u7i-12tb.224xlarge", Family.HIGH_MEMORY),
        ("x2idn.16xlarge", Family.X),
        ("f2.6xlarge", Family.F),
        ("7.large", Family.STANDARD),
    ],
)
def test_a_family_counts_with_those_that_aws_counts_it_with(instance_type: str, family: Family) -> None:
    assert family_of(instance_type) is family


def test_a_quota_is_named_as_aws_names_it() -> None:
    assert str(G) == "us-east-1, G and VT on demand"
    assert str(SPOT_G) == "us-east-1, G and VT spot"
    assert str(Quota(region=HOME, family=Family.HIGH_MEMORY)) == "us-east-1, High Memory on demand"
    assert str(Quota(region=HOME, family=Family.P)) == "us-east-1, P on demand"
    assert str(Quota(region=HOME)) == "us-east-1"


def test_a_plain_figure_is_that_of_every_region_and_of_no_family() -> None:
    assert most_of(64, Quota(region="eu-west-1")) == 64
    assert most_of(64, G) is None
    assert most_of(None, Quota(region=HOME)) is None
    assert not counts_families(64)


def test_quotas_are_looked_up_by_region_and_elsewhere_stands_for_the_others() -> None:
    vcpus = {
        HOME: RegionQuotas(on_demand={Family.G: 64}, spot={Family.G: 0}),
        "eu-west-1": RegionQuotas(total=20),
        ELSEWHERE: RegionQuotas(on_demand={Family.G: 8}),
    }
    assert (most_of(vcpus, G), most_of(vcpus, SPOT_G), most_of(vcpus, STANDARD)) == (64, 0, None)
    assert most_of(vcpus, Quota(region="eu-west-1")) == 20
    assert most_of(vcpus, Quota(region="eu-west-1", family=Family.G)) is None
    assert most_of(vcpus, Quota(region="eu-north-1", family=Family.G)) == 8
    assert most_of({HOME: RegionQuotas(total=1)}, Quota(region="eu-north-1")) is None
    assert counts_families(vcpus)
    assert not counts_families({HOME: RegionQuotas(total=20)})


def test_a_job_claims_what_its_machines_may_be_until_they_are_there() -> None:
    spot_or_not = {SPOT_G: 16, G: 32, STANDARD: 8}
    assert claims_on(NEEDS, HOME, 2) == spot_or_not
    assert claims_on(NEEDS, HOME, 2, [Got(way=3, count=1)]) == {SPOT_G: 8, G: 16, STANDARD: 8}
    assert claims_on(NEEDS, HOME, 2, [Got(way=3, count=1), Got(way=1, count=1)]) == {G: 8, STANDARD: 4}
    assert claims_on(NEEDS, HOME, 2, [Got(way=None, count=1), Got(way=1, count=1)]) == {G: 8}
    assert claims_on((), HOME, 2) == {}


@given(st.lists(st.integers(0, len(NEEDS) - 1), min_size=1, max_size=6), st.integers(0, 6))
def test_whatever_machines_a_job_gets_it_claimed_them_before(ways: list[int], there: int) -> None:
    got = [Got(way=way, count=1) for way in ways]
    claimed = claims_on(NEEDS, HOME, len(ways), got[:there])
    used = claims_on(NEEDS, HOME, len(ways), got)
    assert all(vcpus <= claimed[quota] for quota, vcpus in used.items())


def test_needs_are_kept_as_they_are() -> None:
    assert read_needs(write_needs(NEEDS)) == NEEDS
    assert read_needs(None) == ()
