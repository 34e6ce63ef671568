from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from state.turns import PATIENCE, Caps, Claim, take_turns
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
    )


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
