"""The MILP: proved against every possibility counted out, and bounded by nodes instead of time."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from controller.domain.arrays import Ints
from controller.domain.entities import FoundationModel, GpuTier, QueryType, Switching
from controller.domain.evaluate import evaluate, evaluate_arrays
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.errors import SettingsError
from controller.optimizer.exact import to_highs
from controller.optimizer.highs import run_highs
from controller.optimizer.model import build
from controller.optimizer.params import Params
from controller.optimizer.program import Program
from controller.optimizer.routing import route
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations

INSTANCES = Path(__file__).parents[1] / "data" / "instances"
UNTIL_PROVED = MaxIterations(10**6)

CHAT = QueryType("chat", 3.0, 400, 150, 4.0, 0.06, 2e-5, 0.004, 1e-7)
CODE = QueryType("code", 1.0, 900, 300, 9.0, 0.09, 1e-5, 0.008, 1e-7)
SMALL = FoundationModel("small", 3, 6, 1e-4, {"chat": 0.07, "code": 0.08})
LARGE = FoundationModel("large", 8, 16, 2e-4, {"chat": 0.04, "code": 0.05})
CHEAP = GpuTier("cheap", 24, 900, 150, 0.6, (1, 2), (1, 2), tp_efficiency=0.85, pp_hop_s=0.001)
FAST = GpuTier("fast", 80, 3300, 900, 2.5, (1,), (1,))
TINY = Instance("tiny", 24, (CHAT, CODE), (SMALL, LARGE), (CHEAP, FAST), storage_usd_per_gb_h=1e-4)

VARIANTS = {
    "free": TINY,
    "tight budget": replace(TINY, budget_usd=20.0),
    "few GPUs": replace(TINY, gpu_tiers=(replace(CHEAP, available=1), replace(FAST, available=1))),
    "one small model fits": replace(TINY, storage_gb=6.0),
    "mean delay": replace(TINY, delay_slo="average", query_types=(replace(CHAT, delay_slo_s=1.5), CODE)),
    "must serve": replace(TINY, query_types=(replace(CHAT, max_unmet=0.05), replace(CODE, max_unmet=0.2))),
    "switching": replace(
        TINY,
        switching=Switching(start_s=20_000, load_gb_per_s=0.05),
        incumbent={next(key for key in TINY.arrays.keys if key.gpu_tier == "fast"): 1},
    ),
}


def every_fleet(instance: Instance, most: int) -> Iterator[Ints]:
    """Yield every number of replicas up to ``most``, one configuration for each model on a tier."""
    pairs = [np.flatnonzero(instance.arrays.pair == pair) for pair in np.unique(instance.arrays.pair)]
    options = [[(d, r) for d in pair for r in range(1, most + 1)] + [(0, 0)] for pair in pairs]
    for choice in itertools.product(*options):
        replicas = np.zeros(instance.arrays.num_deployments, dtype=np.int64)
        for d, r in choice:
            replicas[d] += r
        yield replicas


@pytest.mark.parametrize("instance", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_milp_finds_the_best_of_all_fleets_and_proves_it(instance: Instance) -> None:
    costs = [
        judged.cost.total_usd
        for replicas in every_fleet(instance, most=2)
        if (judged := evaluate_arrays(instance, replicas, route(instance, replicas))).is_feasible
    ]
    result = solve(instance, UNTIL_PROVED, method="milp")
    assert result.status == "optimal"
    assert result.objective_usd == pytest.approx(min(costs), rel=1e-6)
    assert result.gap == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "best_usd"),
    [("synth-4x4x4-s1", 40.485881), ("synth-6x6x10-s2-x3", 617.813497), ("paper-s1-x1-b100", 74.753239)],
)
def test_shared_instances_are_solved_to_the_proved_optimum(name: str, best_usd: float) -> None:
    result = solve(load_instance(INSTANCES / f"{name}.json"), UNTIL_PROVED, method="milp")
    assert (result.status, result.objective_usd) == ("optimal", pytest.approx(best_usd, rel=1e-6))


def test_a_bounded_run_gives_a_plan_and_a_bound_but_claims_no_proof() -> None:
    instance = load_instance(INSTANCES / "paper-s10-x30-tight60.json")
    result = solve(instance, MaxIterations(1), method="milp")
    assert result.plan is not None
    assert evaluate(instance, result.plan).is_feasible
    assert result.lower_bound_usd is not None
    assert result.objective_usd is not None
    assert result.lower_bound_usd < result.objective_usd
    assert result.status == "feasible"


def test_constraints_carry_the_names_of_the_formulas() -> None:
    limited = replace(
        VARIANTS["mean delay"],
        budget_usd=50.0,
        storage_gb=30.0,
        gpu_tiers=(replace(CHEAP, available=4), FAST),
    )
    space = SearchSpace.of(limited)
    model = build(space)
    assert model is not None
    families = {
        name.rstrip("0123456789_") for name in (constraint.name for constraint in model.problem.constraints())
    }
    assert families >= {"demand", "delay", "error", "compute", "one_config", "budget", "storage", "gpus"}


def test_building_stops_when_told_to() -> None:
    assert build(SearchSpace.of(TINY), should_stop=lambda: True) is None


@pytest.mark.parametrize("instance", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_model_in_arrays_is_the_model_in_formulas(instance: Instance) -> None:
    space = SearchSpace.of(instance)
    program, model = Program.of(space), build(space)
    assert model is not None
    named = to_highs(model)
    assert (program.num_columns, len(program.constraints.lower)) == (named.num_col_, named.num_row_)
    for relaxed in (True, False):
        formulas = to_highs(model)
        if relaxed:
            formulas.integrality_ = []
        optimum = run_highs(program.highs(program.cost_usd(), relaxed=relaxed))
        assert optimum.outcome == "optimal"
        assert optimum.objective == pytest.approx(run_highs(formulas).objective, rel=1e-9)


@pytest.mark.parametrize("name", ["paper-s7-x30-avg", "paper-s16-x100-switch30", "paper-s10-x30-tight60"])
def test_both_models_of_a_shared_instance_have_the_same_relaxation(name: str) -> None:
    space = SearchSpace.of(load_instance(INSTANCES / f"{name}.json"))
    program, model = Program.of(space), build(space)
    assert model is not None
    formulas = to_highs(model)
    formulas.integrality_ = []
    relaxed = run_highs(program.highs(program.cost_usd(), relaxed=True))
    assert relaxed.objective == pytest.approx(run_highs(formulas).objective, rel=1e-7)


def test_a_plan_as_a_start_is_a_solution_of_the_arrays() -> None:
    instance = VARIANTS["switching"]
    space = SearchSpace.of(instance)
    best = solve(instance, UNTIL_PROVED, method="milp")
    assert best.plan is not None
    replicas, shares = best.plan.arrays(instance)
    program = Program.of(space)
    values = program.values_of(replicas[space.ids].astype(float), shares[:, space.ids])
    assert program.cost_usd() @ values == pytest.approx(best.objective_usd, rel=1e-9)
    assert (values <= program.upper + 1e-9).all()
    constraints = program.constraints
    rows = np.add.reduceat(constraints.values * values[constraints.columns], constraints.starts[:-1])
    assert (rows <= constraints.upper + 1e-9).all()
    assert (rows >= constraints.lower - 1e-9).all()


@pytest.mark.parametrize("instance", VARIANTS.values(), ids=VARIANTS.keys())
def test_cbc_finds_the_same_optimum(instance: Instance) -> None:
    by_cbc = solve(instance, UNTIL_PROVED, method="milp", params=Params(milp_solver="cbc"))
    assert by_cbc.status == "optimal"
    assert by_cbc.objective_usd == pytest.approx(
        solve(instance, UNTIL_PROVED, method="milp").objective_usd, rel=1e-6
    )


def test_cbc_says_that_there_is_no_plan() -> None:
    hopeless = replace(TINY, budget_usd=1.0, query_types=(replace(CHAT, max_unmet=0.1), CODE))
    result = solve(hopeless, UNTIL_PROVED, method="milp", params=Params(milp_solver="cbc"))
    assert result.status == "infeasible"
    assert "budget_usd 1 cannot serve 0.9 of chat" in result.conflict[0]


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_bound_holds_even_where_a_solver_may_stop_far_from_the_optimum(
    name: str, solver: Literal["highs", "cbc"]
) -> None:
    optimum = solve(VARIANTS[name], UNTIL_PROVED, method="milp")
    for gap in (0.3, 0.9):
        loose = solve(
            VARIANTS[name], UNTIL_PROVED, method="milp", params=Params(milp_gap=gap, milp_solver=solver)
        )
        assert loose.objective_usd is not None
        assert optimum.objective_usd is not None
        assert loose.lower_bound_usd is not None
        assert loose.lower_bound_usd <= optimum.objective_usd * (1 + 1e-9)
        assert loose.lower_bound_usd >= loose.objective_usd * (1.0 - gap) * (1 - 1e-9)
    program = Program.of(SearchSpace.of(VARIANTS[name]))
    model = program.highs(program.cost_usd())
    assert run_highs(model, gap=0.9).bound <= run_highs(model).objective * (1 + 1e-9)


def test_another_solver_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="must be one of highs, cbc"):
        Params(milp_solver="abacus")  # type: ignore[arg-type]


def test_the_units_that_highs_counts_in_are_no_ones_business_but_its_own() -> None:
    busy = replace(TINY, query_types=(replace(CHAT, arrival_rate_per_s=4e4), CODE))
    program = Program.of(SearchSpace.of(busy))
    model, units = program.highs(program.cost_usd()), program.units()
    assert units.max() > 100
    assert set(units[program.whole]) == {1.0}
    plain, counted = run_highs(model), run_highs(model, units=units)
    assert counted.objective == pytest.approx(plain.objective, rel=1e-6)
    assert counted.values is not None
    assert float(program.cost_usd() @ counted.values) == pytest.approx(counted.objective)
    again = run_highs(model, units=units, start=counted.values, nodes=0)
    assert again.objective == pytest.approx(counted.objective)
