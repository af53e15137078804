"""The relaxation on instances that one can work out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.domain.entities import DeploymentKey, FoundationModel, GpuTier, QueryType, Switching
from controller.domain.instance import Instance
from controller.optimizer.pricing import Pricer, most_share
from controller.optimizer.relaxation import relax
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import MaxIterations
from tests.benchmarks.fuzz_optimizer import random_instance

DATA = Path(__file__).parents[1] / "data"
READ = QueryType("read", 1.4, 3000, 1, 20.0, 0.06, unmet_penalty_usd=0.05)
WRITE = QueryType("write", 0.3, 20, 900, 60.0, 0.06, unmet_penalty_usd=0.05)
MODEL = FoundationModel("m", 8, 16, 5e-4, {"read": 0.04, "write": 0.04})
TIER = GpuTier("k", 24, 900, 150, 0.6, (1,), (1,), decode_mfu=0.5)
FLEET = Instance("fleet", 24, (READ, WRITE), (MODEL,), (TIER,))
READ_ONLY = replace(FLEET, query_types=(READ,), models=(replace(MODEL, base_error={"read": 0.04}),))
ONE_REPLICA_USD = 24 * 0.6


def test_types_that_bind_compute_and_memory_share_a_replica_in_the_bound_as_they_do_in_a_plan() -> None:
    space = SearchSpace.of(FLEET)
    assert space.compute[0, 0] > space.memory[0, 0]
    assert space.compute[1, 0] < space.memory[1, 0]
    assert max(space.compute[:, 0].sum(), space.memory[:, 0].sum()) <= 1
    assert np.maximum(space.compute, space.memory)[:, 0].sum() > 1, "as if each took up both"
    bound_usd = relax(space).bound_usd
    assert bound_usd is not None
    assert bound_usd <= ONE_REPLICA_USD


def test_a_start_that_serves_demand_for_less_than_its_parts_cost_is_no_trouble() -> None:
    """Held at nine tenths of its parts, the prices of demand would make a program with that plan unbounded."""
    space = SearchSpace.of(FLEET)
    assert np.maximum(space.compute, space.memory)[:, 0].sum() * 0.9 > 1
    plan = AllocationState.of_shares(space, np.ones((2, 1)))
    relaxation = relax(space, start=plan)
    assert relaxation.value_usd <= plan.cost_usd() * (1 + 1e-9)
    assert relaxation.bound_usd is not None
    assert relaxation.bound_usd <= relaxation.value_usd


def test_one_deployment_is_bounded_by_what_it_costs() -> None:
    relaxation = relax(SearchSpace.of(READ_ONLY))
    assert relaxation.bound_usd == pytest.approx(ONE_REPLICA_USD)
    assert relaxation.reduced_usd.tolist() == pytest.approx([0.0], abs=1e-6)
    assert relaxation.weights.tolist() == [1.0]


def test_a_dear_deployment_has_the_difference_as_its_reduced_cost() -> None:
    dear = replace(TIER, name="dear", price_usd_per_h=1.0)
    relaxation = relax(SearchSpace.of(replace(READ_ONLY, gpu_tiers=(TIER, dear))))
    assert relaxation.bound_usd == pytest.approx(ONE_REPLICA_USD)
    opens_dear = ONE_REPLICA_USD + relaxation.reduced_usd[1]
    assert ONE_REPLICA_USD < opens_dear <= 24 * 1.0 * (1 + 1e-9)


def test_what_a_deployment_serves_is_worth_what_its_demand_is() -> None:
    slow = replace(TIER, name="slow", price_usd_per_h=0.9)
    relaxation = relax(SearchSpace.of(replace(READ_ONLY, gpu_tiers=(TIER, slow))))
    assert relaxation.served_usd.tolist() == pytest.approx([ONE_REPLICA_USD] * 2)
    fewer = tuple(replace(kind, arrival_rate_per_s=0.1) for kind in FLEET.query_types)
    shared = relax(SearchSpace.of(replace(FLEET, query_types=fewer)))
    assert shared.served_usd.tolist() == pytest.approx([shared.prices.demand_usd.sum()])


def test_demand_that_is_worth_less_than_nothing_adds_nothing_to_what_is_served() -> None:
    space = SearchSpace.of(READ_ONLY)
    below = space.excess[0]
    assert (below < 0).all()
    known = relax(space).prices
    prices = replace(known, demand_usd=np.array([-1.0]), excess_usd=np.full_like(known.excess_usd, -1e6))
    offers = Pricer(space).offers(prices)
    assert offers.reduced_usd[0] < 0, "errors below the limit pay for it"
    assert offers.served_usd.tolist() == [0.0]


def test_at_the_same_reduced_cost_what_serves_more_seems_nearer() -> None:
    known = replace(
        relax(SearchSpace.of(READ_ONLY)),
        reduced_usd=np.array([2.0, 2.0, 2.0, 0.0]),
        served_usd=np.array([1.0, 16.0, 0.0, 5.0]),
    )
    assert np.argsort(known.distance).tolist() == [3, 1, 0, 2]
    assert np.isfinite(known.distance).all(), (
        "what serves nothing at these prices may serve what is left over"
    )


def test_a_replica_that_runs_is_not_charged_a_start() -> None:
    switching = Switching(start_s=3600.0, load_gb_per_s=1e9)
    cold = relax(SearchSpace.of(replace(READ_ONLY, switching=switching)), gap=0.0)
    running = {DeploymentKey("m", "k", 1, 1): 1}
    warm = relax(SearchSpace.of(replace(READ_ONLY, switching=switching, incumbent=running)), gap=0.0)
    assert cold.bound_usd == pytest.approx(ONE_REPLICA_USD + 0.6)
    assert warm.bound_usd == pytest.approx(ONE_REPLICA_USD)


def test_a_route_over_its_mean_gets_no_more_than_the_best_mix_allows() -> None:
    exact, loose = MODEL, replace(MODEL, name="loose", base_error={"read": 0.1, "write": 0.05})
    space = SearchSpace.of(replace(FLEET, models=(exact, loose)))
    # 0.02 below the limit beside 0.04 above it: a third.
    assert most_share(space)[0].tolist() == pytest.approx([1.0, 1 / 3])
    assert most_share(space)[1].tolist() == [1.0, 1.0]


def test_without_deployments_everything_is_shed() -> None:
    space = SearchSpace.of(replace(FLEET, budget_usd=0.0))
    assert relax(space).bound_usd == pytest.approx(space.unmet_usd.sum())


def test_prices_follow_the_rates_and_are_not_known_where_there_was_no_demand() -> None:
    prices = relax(SearchSpace.of(FLEET)).prices
    scaled = prices.rescaled(np.array([2.0, np.inf]))
    assert scaled.demand_usd[0] == 2 * prices.demand_usd[0]
    assert np.isnan(scaled.demand_usd[1])
    warm = relax(SearchSpace.of(FLEET), rounds=0, prices=scaled)
    assert warm.bound_usd is not None
    assert warm.bound_usd <= ONE_REPLICA_USD


@pytest.mark.parametrize("seed", [100517, 108832, 109127])
def test_numbers_of_very_different_sizes_have_a_relaxation_whatever_it_starts_from(seed: int) -> None:
    """A million queries a second beside none, prices of nothing: the program's last basis leads HiGHS nowhere."""
    instance = random_instance(seed)
    for method in ("gh", "agh-plain"):
        start = solve(instance, MaxIterations(1), seed=seed, method=method)
        assert start.plan is not None
        result = solve(instance, MaxIterations(1), seed=seed, initial=start.plan)
        assert result.objective_usd is not None
        assert start.objective_usd is not None
        assert result.objective_usd <= start.objective_usd * (1 + 1e-6)
