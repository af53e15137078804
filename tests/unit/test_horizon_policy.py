"""Policy in the pure tick: surges, other triggers, silence from six causes, and signals that must not make it flap."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.demand.policy import DemandPolicy
from controller.demand.window import DemandState, DemandWindow, TypeWindow, WindowView
from controller.domain.catalog import Catalog, read_catalog
from controller.horizon import begin, conclude, next_horizon_start_s, surge_start_s, surging_types, tick
from controller.records import (
    DecisionName,
    HorizonPolicy,
    PlannerState,
    PlanRecord,
    SolveRequest,
    SolverFailure,
    TickInput,
)
from controller.simulate.offline import BucketCounts, Offline, deterministic
from tests.small_catalog import small_catalog

T = 1_000_000_200.0  # a multiple of 300
DEMAND = DemandPolicy(headroom="quantile", stabilization_horizons=3, max_step_down=0.5)
POLICY = HorizonPolicy(300.0, 600.0, demand=DEMAND)
WINDOWING = Windowing(10.0, 30.0, 960.0)


def catalog(**changes: Any) -> Catalog:
    # One model on one tier: a query takes a tenth of a GPU-second, so a replica serves 10/s. A miss costs 20 times it.
    switching = {"start_s": 60.0, "load_gb_per_s": 1.0}
    return read_catalog(small_catalog(unmet_penalty_usd=0.002, **{"switching": switching, **changes}))


def bucket(at: int, count: int | None) -> BucketCounts:
    totals = {} if count is None else {"chat": Totals(1, count, 100 * count, 0)}
    return BucketCounts(T + 10.0 * at, totals)


def played(
    counts: Callable[[int], int | None], horizons: int, **changes: Any
) -> tuple[Offline, list[PlanRecord]]:
    """Play the counts of 10-s buckets through the whole loop, with a solver that does the same every time."""
    policy = replace(POLICY, demand=replace(DEMAND, **changes))
    offline = Offline(catalog(), policy, WINDOWING, deterministic(method="gh"))
    records = [record for at in range(30 * horizons + 4) for record in offline.feed(bucket(at, counts(at)))]
    return offline, records


def gpus(records: list[PlanRecord]) -> list[int]:
    return [record.plan.gpus for record in records]


def test_a_surge_of_five_times_is_answered_within_a_bucket_and_the_lateness_that_is_allowed() -> None:
    begun = 30 * 8 + 10  # in the middle of the ninth horizon
    _, records = played(lambda at: 500 if at >= begun else 100, horizons=10)
    first = next(record for record in records if record.tick.trigger == "surge")
    answered_s = first.issued_at_s - (T + 10.0 * begun)
    assert answered_s <= WINDOWING.bucket_s + WINDOWING.allowed_lateness_s + WINDOWING.bucket_s
    assert first.demand[0].rate_per_s > 50.0
    assert first.demand[0].shaped_by == "surge"
    assert first.decision.name is DecisionName.PLANNED
    assert "chat surge at" in first.decision.reason
    assert first.horizon_end_s == T + 9 * 300.0, "it stands until its horizon ends"
    assert first.plan.gpus >= 5
    after = records[records.index(first) + 1]
    assert (after.tick.trigger, after.demand[0].rate_per_s > 50.0) == ("horizon", True), (
        "it is not taken back"
    )


def test_a_surge_is_answered_once_and_a_second_one_only_after_its_cooldown() -> None:
    begun = 30 * 8 + 2

    def steps(at: int) -> int:  # five times more every 20 s: far faster than anybody should plan
        return 100 if at < begun else 100 * 5 ** min(4, 1 + (at - begun) // 2)

    _, records = played(steps, horizons=9)
    surges = [record.issued_at_s for record in records if record.tick.trigger == "surge"]
    assert 2 <= len(surges) <= DEMAND.surges_per_horizon
    assert min(np.diff(surges)) >= DEMAND.surge_cooldown_s
    _, none = played(steps, horizons=9, surges_per_horizon=0)
    assert {record.tick.trigger for record in none} == {"horizon"}


def test_no_surge_is_looked_for_outside_the_horizon_that_was_planned() -> None:
    state = PlannerState(epoch=0)
    assert surge_start_s(state, T + 50, 10.0, POLICY) is None
    offline, _ = played(lambda _: 100, horizons=2)
    start_s = offline.state.planned_start_s
    assert start_s is not None
    assert surge_start_s(offline.state, start_s + 35, 10.0, POLICY) == start_s + 20
    assert surge_start_s(offline.state, start_s, 10.0, POLICY) is None
    assert surge_start_s(offline.state, start_s + 300, 10.0, POLICY) is None
    assert surge_start_s(offline.state, -math.inf, 10.0, POLICY) is None


@pytest.mark.parametrize("trigger", ["catalog", "capacity", "manual"])
def test_other_triggers_plan_anew_for_the_demand_that_is_known_and_leave_the_horizon_open(
    trigger: Any,
) -> None:
    offline, records = played(lambda _: 100, horizons=3)
    before = offline.state
    view = WindowView(T + 900.0, T + 930.0, 0.0, True, {}, (), ())
    other = catalog(
        query_types=[
            {"name": "chat", "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": 0.002},
            {
                "name": "new",
                "delay_slo_s": 10.0,
                "error_slo": 0.5,
                "unmet_penalty_usd": 0.002,
                "prior_rate_per_s": 3,
            },
        ],
        models=[{"name": "m", "params_b": 0.5, "weights_gb": 1.0, "base_error": {"chat": 0.1, "new": 0.1}}],
    )
    state, request = tick(before, TickInput(trigger, T + 935.0, other, view), POLICY)
    assert isinstance(request, SolveRequest)
    rates = {q.name: q.arrival_rate_per_s for q in request.instance.query_types}
    assert rates == {"chat": records[-1].demand[0].rate_per_s, "new": 3.0}
    state, record = conclude(state, SolverFailure("timeout", "too late", 1.0), T + 936.0, POLICY)
    assert (record.tick.trigger, state.planned_start_s) == (trigger, before.planned_start_s)
    assert state.memory is before.memory
    assert record.horizon_end_s == T + 1200.0


def direction_changes(seen: list[int]) -> list[int]:
    """Return the steps at which the direction of change turns."""
    moves = [(step, np.sign(b - a)) for step, (a, b) in enumerate(pairwise(seen)) if a != b]
    return [step for (_, a), (step, b) in pairwise(moves) if a != b]


def most_within(turns: list[int], horizons: int) -> int:
    return max((sum(1 for turn in turns if begin <= turn < begin + horizons) for begin in turns), default=0)


def test_a_square_wave_at_the_horizons_period_changes_direction_at_most_once_in_a_stabilization_window() -> (
    None
):
    _, records = played(lambda at: 300 if (at // 30) % 2 else 60, horizons=40)
    turns = direction_changes(gpus([r for r in records if r.tick.trigger == "horizon"]))
    assert most_within(turns, DEMAND.stabilization_horizons) <= 1
    assert len(turns) <= 2


@pytest.mark.parametrize("seed", range(6))
def test_noise_of_thirty_percent_changes_direction_at_most_once_in_a_stabilization_window(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = 250 * (1 + 0.3 * rng.uniform(-1, 1, 60))
    counts = rng.poisson(np.repeat(rates, 30))
    _, records = played(lambda at: int(counts[min(at, len(counts) - 1)]), horizons=58)
    turns = direction_changes(gpus(records)[10:])  # from cold, the margin itself is being learnt
    assert most_within(turns, DEMAND.stabilization_horizons) <= 1


def test_proved_idle_demand_is_scaled_down_and_after_its_retention_to_nothing() -> None:
    _, records = played(lambda at: 200 if at < 150 else 0, horizons=14, retention_s=900.0)
    seen = gpus(records)
    assert seen[4] >= 2
    assert seen[-1] == 0
    idle = [record.demand[0].shaped_by for record in records if record.demand[0].state is DemandState.IDLE]
    assert idle[-1] == "idle"
    assert records[6].plan.gpus > 0, "not at once"


class Watched:
    """Two source partitions and a planner's window over them, fed by hand."""

    def __init__(self) -> None:
        self.window = DemandWindow(2, 10.0, idle_timeout_s=60.0)
        self.ledgers = [PartitionLedger(WINDOWING, partition) for partition in range(2)]
        self.offsets = [0, 0]

    def hear(self, partition: int, at_s: float, count: int, query_type: str = "chat") -> None:
        ledger = self.ledgers[partition]
        ledger.add([(query_type, T + at_s, count, 100 * count, 0)])
        self.offsets[partition] += 1
        ledger.advance(self.offsets[partition], T + at_s)

    def show(self, *partitions: int, is_at_end: bool = False) -> None:
        for partition in partitions:
            self.window.apply(self.ledgers[partition], is_at_end)


def no_heartbeats(world: Watched) -> tuple[float, float]:
    """The gateways of a type are gone soon after the window began; another type's go on."""
    for at in range(30, 64):
        for partition in (0, 1):
            world.hear(partition, 10.0 * at, 0, "code")
    world.show(0, 1)
    return 640.0, T + 640.0


def nothing_at_all(world: Watched) -> tuple[float, float]:
    """Everybody is gone: the partitions are read to their ends, and silent for long."""
    world.show(0, 1, is_at_end=True)
    return 900.0, T + 900.0


def one_partition_stuck(world: Watched) -> tuple[float, float]:
    """Nobody reads one partition any more: it still has records."""
    for at in range(30, 64):
        world.hear(0, 10.0 * at, 0)
    world.show(0)
    return 640.0, T + 640.0


def a_new_planner(world: Watched) -> tuple[float, float]:
    """A planner that took over and has heard of one partition only."""
    world.window = DemandWindow(2, 10.0, idle_timeout_s=60.0)
    for at in range(30, 64):
        world.hear(0, 10.0 * at, 0)
    world.show(0)
    return 640.0, T + 640.0


def ingest_behind(world: Watched) -> tuple[float, float]:
    """Counting is behind the clock: the window is not closed."""
    for at in range(30, 40):
        for partition in (0, 1):
            world.hear(partition, 10.0 * at, 0)
    world.show(0, 1)
    return 600.0, T + 1000.0


def clock_stands(world: Watched) -> tuple[float, float]:
    """The replayed clock stands still while nothing comes."""
    world.show(0, 1, is_at_end=True)
    return 600.0, T + 300.0


CAUSES = [no_heartbeats, nothing_at_all, one_partition_stuck, a_new_planner, ingest_behind, clock_stands]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_silence_scales_nothing_down(cause: Callable[[Watched], tuple[float, float]]) -> None:
    world = catalog(
        query_types=[
            {"name": name, "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": 0.002}
            for name in ("chat", "code")
        ],
        models=[{"name": "m", "params_b": 0.5, "weights_gb": 1.0, "base_error": {"chat": 0.1, "code": 0.1}}],
    )
    watched = Watched()
    for at in range(34):
        for partition in (0, 1):
            watched.hear(partition, 10.0 * at, 150 if at < 30 else 0)
    watched.show(0, 1)
    solver = deterministic(method="gh")
    policy = replace(
        POLICY, demand=replace(DEMAND, retention_s=0.0, stabilization_horizons=1, max_step_down=None)
    )

    def ticked(state: PlannerState, end_s: float, now_s: float) -> tuple[PlannerState, PlanRecord]:
        view = watched.window.view(T + end_s - 300.0, T + end_s, now_s)
        after, effect = tick(state, TickInput("horizon", now_s, world, view), policy)
        return (
            conclude(after, solver(effect), now_s, policy)
            if isinstance(effect, SolveRequest)
            else (after, effect)
        )

    state, before = ticked(PlannerState(epoch=0), 300.0, T + 340.0)
    assert before.plan.gpus >= 3
    until_s, now_s = cause(watched)
    state, after = ticked(state, 600.0, now_s)
    assert after.plan.gpus >= before.plan.gpus
    rates = {estimate.query_type: estimate.rate_per_s for estimate in after.demand}
    assert rates["chat"] == before.demand[0].rate_per_s
    is_held = after.decision.name is DecisionName.HOLD_UNKNOWN_DEMAND
    assert is_held or after.demand[0].state is DemandState.UNKNOWN
    assert until_s >= 600.0


def test_a_type_that_is_proved_idle_in_the_same_place_is_scaled_down() -> None:
    _, records = played(
        lambda at: 300 if at < 30 else 0, 4, retention_s=0.0, stabilization_horizons=1, max_step_down=None
    )
    assert gpus(records)[0] >= 3
    assert gpus(records)[-1] == 0


def test_a_partial_bucket_at_the_beginning_is_scaled_and_not_read_as_whole() -> None:
    ledger = PartitionLedger(WINDOWING, 0)
    ledger.add([("chat", T + 10.0 * at, 100, 0, 0) for at in range(20, 34)])
    ledger.advance(14, T + 340)
    window = DemandWindow(1, 10.0, 60.0)
    window.apply(ledger, is_at_end=False)
    state = begin(PlannerState(epoch=0), window.since_s, POLICY)
    assert next_horizon_start_s(state, window.watermark_s(T + 340), POLICY) == T + 300
    view = window.view(T, T + 300.0, T + 340)
    _, effect = tick(state, TickInput("horizon", T + 340, catalog(), view), POLICY)
    assert isinstance(effect, SolveRequest)
    assert effect.instance.query_types[0].arrival_rate_per_s == pytest.approx(12.0, abs=4.0)


def test_which_types_surge_is_told_with_rates() -> None:
    offline, _ = played(lambda _: 100, horizons=3)
    seen = {"chat": TypeWindow(DemandState.OBSERVED, Totals(1, 800, 0, 0), array("d", [800]))}
    view = WindowView(T, T + 10.0, 1.0, True, seen, (), ())
    assert surging_types(offline.state, view, POLICY)["chat"] == pytest.approx(80, rel=0.1)
