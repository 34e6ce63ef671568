from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from state.turns import PATIENCE, Caps, Claim, take_turns
from state.vcpus import Family, Quota, RegionQuotas
from tests.fakes.jobs import NOW


def claim(
    job: str, *, group: str = "lab1", analysis: str = "pca", instances: int = 1, minute: int = 0, **more: object
) -> Claim:
    return Claim(
        job=job,
        group=group,
        analysis=analysis,
        instances=instances,
        vcpus=2 * instances,
        region=str(more.get("region", "us-east-1")),
        since=NOW + timedelta(minutes=minute),
        stopping=bool(more.get("stopping")),
        quotas=dict(more.get("quotas", {})),  # type: ignore[call-overload]
    )


HOME = "us-east-1"
G, SPOT_G = Quota(region=HOME, family=Family.G), Quota(region=HOME, family=Family.G, spot=True)
P = Quota(region=HOME, family=Family.P)
LATE = NOW + PATIENCE + timedelta(minutes=1)


def quotas(g: int, p: int = 100, spot_g: int = 100) -> Caps:
    return Caps(vcpus={HOME: RegionQuotas(on_demand={Family.G: g, Family.P: p}, spot={Family.G: spot_g})})


def test_without_limits_everybody_starts_in_order() -> None:
    found = take_turns([claim("a"), claim("b", minute=1)], [], Caps(), NOW)
    assert found.start == ("a", "b")
    assert not found.waits


def test_each_limit_says_what_is_waited_for() -> None:
    busy = [claim("busy", instances=3)]
    for caps, words in (
        (Caps(instances=3), "the limit of the platform: 3 of 3 instances are in use, and it needs 1"),
        (Caps(groups={"lab1": 3}), "the limit of lab1: 3 of 3 instances are in use, and it needs 1"),
        (Caps(analyses={"pca": 3}), "the limit of pca: 3 of 3 instances are in use, and it needs 1"),
        (Caps(vcpus=7), "the vCPU quota in us-east-1: 6 of 7 vCPUs are in use, and it needs 2"),
    ):
        found = take_turns([claim("a")], busy, caps, NOW)
        assert found.start == ()
        assert found.waits == {"a": words}


def test_a_group_keeps_its_order() -> None:
    found = take_turns([claim("large", instances=3), claim("small", minute=1)], [], Caps(groups={"lab1": 2}), NOW)
    assert found.start == ()
    assert found.waits["small"] == "job large of its group, which was submitted before it"


def test_a_full_analysis_or_region_holds_up_only_those_that_want_the_same() -> None:
    line = [claim("a"), claim("b", minute=1), claim("c", minute=2, analysis="other")]
    found = take_turns(line, [claim("busy")], Caps(analyses={"pca": 1}), NOW)
    assert found.start == ("c",)
    assert found.waits["b"].startswith("job a of its group")
    line = [claim("a"), claim("b", minute=1, region="eu-west-1")]
    assert take_turns(line, [claim("busy")], Caps(vcpus=2), NOW).start == ("b",)


def test_the_group_with_the_fewest_machines_goes_first() -> None:
    line = [*(claim(f"one-{n}") for n in range(10)), claim("two", group="lab2", minute=5)]
    found = take_turns(line, [], Caps(instances=4), NOW)
    assert found.start == ("one-0", "two", "one-1", "one-2")


def test_a_large_job_is_overtaken_only_for_a_while() -> None:
    line = [claim("large", group="lab2", instances=4), claim("small", minute=1)]
    busy = [claim("busy", group="lab3", instances=2)]
    assert take_turns(line, busy, Caps(instances=5), NOW).start == ("small",)
    late = take_turns(line, busy, Caps(instances=5), NOW + PATIENCE + timedelta(minutes=1))
    assert late.start == ()
    assert late.waits["small"] == "the limit of the platform: a larger job that has waited longer goes first"


def test_a_job_that_is_to_be_stopped_waits_for_nothing() -> None:
    found = take_turns([claim("a"), claim("b", stopping=True)], [claim("busy")], Caps(instances=1), NOW)
    assert found.start == ("b",)
    assert "b" not in found.waits


def test_a_full_quota_of_a_family_is_named_and_holds_up_only_those_that_want_the_same() -> None:
    busy = [claim("busy", group="lab2", quotas={G: 60})]
    line = [
        claim("a", quotas={G: 8}),
        claim("b", minute=1, quotas={SPOT_G: 8}),
        claim("c", minute=2, quotas={P: 8}),
        claim("d", minute=3, quotas={Quota(region="eu-west-1", family=Family.G): 8}),
        claim("e", minute=4, quotas={G: 4}),
        claim("f", minute=5, group="lab3", quotas={G: 4}),
    ]
    found = take_turns(line, busy, quotas(g=64), NOW)
    assert set(found.start) == {"b", "c", "d", "f"}
    words = "vCPUs: us-east-1, G and VT on demand: 60 of 64 are in use, and it needs 8"
    assert found.waits == {"a": words, "e": "job a of its group, which was submitted before it"}


def test_a_job_that_may_get_either_of_two_machines_needs_room_for_both() -> None:
    both = claim("both", quotas={SPOT_G: 8, G: 8})
    assert take_turns([both], [claim("busy", group="lab2", quotas={G: 60})], quotas(g=64), NOW).start == ()
    assert take_turns([both], [claim("busy", group="lab2", quotas={G: 56})], quotas(g=64), NOW).start == ("both",)


def test_a_job_that_has_waited_long_keeps_its_share_of_every_quota() -> None:
    """Else two quotas could take turns at being full, and it would never start."""
    line = [
        claim("both", quotas={SPOT_G: 8, G: 8}),
        claim("spot", group="lab2", minute=1, quotas={SPOT_G: 96}),
        claim("little", group="lab3", minute=2, quotas={SPOT_G: 92}),
        claim("on-demand", group="lab4", minute=3, quotas={G: 4}),
    ]
    busy = [claim("busy", group="lab5", quotas={G: 60})]
    assert set(take_turns(line, busy, quotas(g=64), NOW).start) == {"spot", "on-demand"}
    late = take_turns(line, busy, quotas(g=64), LATE)
    assert late.start == ("little",)
    assert late.waits["spot"] == "vCPUs: us-east-1, G and VT spot: a larger job that has waited longer goes first"
    assert late.waits["on-demand"].startswith("vCPUs: us-east-1, G and VT on demand: a larger job")


def test_a_job_that_a_lowered_limit_shuts_out_holds_up_no_other_group() -> None:
    line = [claim("never", quotas={G: 8}), claim("small", group="lab2", minute=1, quotas={G: 4})]
    assert take_turns(line, [], quotas(g=4), LATE).start == ("small",)


CLAIMS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("pq"), st.integers(1, 5), st.integers(0, 30)), max_size=12
)


@settings(max_examples=60)
@given(CLAIMS, st.integers(1, 8), st.integers(1, 8))
def test_no_limit_is_ever_passed_and_everybody_has_an_answer(
    made: list[tuple[str, str, int, int]], platform: int, group: int
) -> None:
    line = [
        claim(f"j{n}", group=g, analysis=a, instances=i, minute=m)
        for n, (g, a, i, m) in enumerate(sorted(made, key=lambda one: one[3]))
    ]
    caps = Caps(instances=platform, groups=dict.fromkeys("xyz", group), analyses={"p": 3})
    found = take_turns(line, [], caps, NOW)
    started = [one for one in line if one.job in found.start]
    assert sum(one.instances for one in started) <= platform
    for name in "xyz":
        assert sum(one.instances for one in started if one.group == name) <= group
    assert sum(one.instances for one in started if one.analysis == "p") <= 3
    assert set(found.start) | set(found.waits) == {one.job for one in line}
    assert set(found.start).isdisjoint(found.waits)


ANY_QUOTAS = st.dictionaries(st.sampled_from([G, SPOT_G, P]), st.integers(1, 9), max_size=3)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), ANY_QUOTAS, st.integers(0, 30)), max_size=12),
    st.lists(ANY_QUOTAS, max_size=3),
    st.lists(st.integers(0, 20), min_size=3, max_size=3),
)
def test_no_quota_is_ever_passed_and_a_job_that_fits_waits_for_nobody_of_another_family(
    made: list[tuple[str, dict[Quota, int], int]], there: list[dict[Quota, int]], most: list[int]
) -> None:
    line = [
        claim(f"j{n}", group=group, minute=minute, quotas=wanted)
        for n, (group, wanted, minute) in enumerate(sorted(made, key=lambda one: one[2]))
    ]
    busy = [claim(f"r{n}", quotas=taken) for n, taken in enumerate(there)]
    found = take_turns(line, busy, quotas(*most), NOW)
    assert set(found.start) | set(found.waits) == {one.job for one in line}
    held = [*busy, *(one for one in line if one.job in found.start)]
    before = {quota: sum(one.quotas.get(quota, 0) for one in busy) for quota in (G, P, SPOT_G)}
    after = {quota: sum(one.quotas.get(quota, 0) for one in held) for quota in (G, P, SPOT_G)}
    for cap, quota in zip(most, (G, P, SPOT_G), strict=True):
        assert after[quota] <= max(cap, before[quota])
    waiting = {quota for one in line if one.job in found.waits for quota in one.quotas}
    assert all(one.job in found.start for one in line if waiting.isdisjoint(one.quotas))
