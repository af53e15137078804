"""A small part of ``python -m tests.benchmarks.fuzz_optimizer``, and the seeds that once found something."""

import pytest

from tests.benchmarks.fuzz_optimizer import findings, random_instance

ONCE_WRONG = {
    966: "a route that takes nothing of a replica needs one all the same",
    744: "an initial plan that serves nothing is one to be no dearer than",
    826: "a type that costs no rent has no worth per dollar of it",
    890: "a plan that is dearer than to serve nothing is none",
    1404: "a plan that serves enough beats one that does not, however cheap",
    305669: "what leaves a millionth unmet, a replica's worth, is a plan to HiGHS too",
    307271: "a proved optimum is one though a type needs 30,000 replicas",
    904493: "a solver that prunes what is within a gap calls its objective a bound",
}


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_on_random_instances_every_method_ends_in_a_plan_or_a_clear_no(first: int) -> None:
    assert {seed: wrong for seed in range(first, first + 20) if (wrong := findings(seed))} == {}


@pytest.mark.parametrize("seed", ONCE_WRONG, ids=ONCE_WRONG.values())
def test_what_was_once_wrong_is_mended(seed: int) -> None:
    assert findings(seed) == []


def test_the_instances_are_of_all_kinds() -> None:
    drawn = [random_instance(seed) for seed in range(120)]
    assert random_instance(7) == random_instance(7)
    assert any(item.arrival_rate_per_s == 1e6 for instance in drawn for item in instance.query_types)
    assert any(tier.available == 0 for instance in drawn for tier in instance.gpu_tiers)
    assert any(instance.delay_slo == "average" and instance.profiles for instance in drawn)
    assert any(instance.switching and instance.incumbent and instance.budget_usd for instance in drawn)
    assert any(not instance.arrays.num_deployments for instance in drawn)
