"""From a window to what is planned for: known, idle, unknown; the margin; how fast it may go down."""

from __future__ import annotations

import sys
from array import array
from dataclasses import replace

import numpy as np
import pytest

from controller.demand.counting import Totals
from controller.demand.estimator import (
    NUM_SCENARIOS,
    DemandEstimate,
    Margin,
    Prior,
    demand_scenarios,
    estimate_all,
)
from controller.demand.memory import DemandMemory
from controller.demand.policy import DemandPolicy
from controller.demand.window import DemandState, TypeWindow, WindowView

PRIOR = Prior(rate_per_s=2.0, input_tokens=100.0, output_tokens=10.0)
PLAIN = DemandPolicy(estimator="ewma")
Seen = TypeWindow | None


def seen(
    count: int, input_tokens: int = 0, output_tokens: int = 0, buckets: tuple[int, ...] = ()
) -> TypeWindow:
    state = DemandState.OBSERVED if count else DemandState.IDLE
    return TypeWindow(state, Totals(1, count, input_tokens, output_tokens), array("d", buckets or (count,)))


class Chat:
    """One query type, window by window of 100 s."""

    def __init__(self, policy: DemandPolicy = PLAIN, prior: Prior = PRIOR, level: float = 0.9) -> None:
        self.policy, self.prior, self.level = policy, prior, level
        self.memory = DemandMemory()

    def window(self, found: Seen, coverage: float = 1.0) -> DemandEstimate:
        types = {} if found is None else {"chat": found}
        view = WindowView(0.0, 100.0, coverage, True, types, (), ())
        self.memory, (estimate,) = estimate_all(
            self.memory, view, {"chat": self.prior}, self.policy, Margin(np.array([self.level]))
        )
        return estimate

    def rates(self, *counts: int) -> list[float]:
        return [round(self.window(seen(count)).rate_per_s, 6) for count in counts]


def test_until_something_is_known_the_prior_is_planned_for() -> None:
    found = Chat().window(None)
    assert (found.state, found.rate_per_s, found.input_tokens) == (DemandState.UNKNOWN, 2.0, 100.0)
    assert (found.observed_rate_per_s, found.shaped_by) == (None, "prior")


def test_the_first_window_is_the_level_and_later_ones_count_by_their_weight() -> None:
    chat = Chat()
    # w = 0.7 + 0.3 * 0.7 = 0.91, level = 100 + 0.7 / 0.91 * 100
    assert chat.rates(100, 200) == [1.0, pytest.approx(1 + 0.7 / 0.91, abs=1e-6)]


def test_silence_changes_nothing_and_a_heartbeat_does() -> None:
    chat = Chat()
    chat.window(seen(100))
    before = chat.memory.to_json()
    held = chat.window(None)
    assert (held.rate_per_s, held.state, held.shaped_by) == (1.0, DemandState.UNKNOWN, "held")
    chat.window(None)
    assert chat.window(None).rate_per_s == 1.0, "however long it lasts"
    after = chat.memory.to_json()
    assert after["arrays"]["targets.last"] == before["arrays"]["targets.last"]
    assert after["arrays"]["estimator.forecaster.level"] == before["arrays"]["estimator.forecaster.level"]
    idle = chat.window(seen(0))
    assert (idle.rate_per_s < 0.3, idle.state) == (True, DemandState.IDLE)


def test_token_means_are_ratios_of_sums_and_empty_windows_keep_them() -> None:
    chat = Chat()
    chat.window(seen(1, 1000, 0))
    found = chat.window(seen(9, 900, 0))
    # sums 0.3 * (0.7 * 1000 + 900) over 0.3 * (0.7 * 1 + 9): the one request of 1000 tokens does not count as half
    assert found.input_tokens == pytest.approx((0.7 * 1000 + 900) / (0.7 + 9))
    assert chat.window(seen(0)).input_tokens == found.input_tokens


def test_a_window_watched_in_part_is_scaled_up() -> None:
    found = Chat().window(seen(30), coverage=0.3)
    assert (found.rate_per_s, found.observed_rate_per_s) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_margin_is_planned_for_once_and_the_forecast_is_told_beside_it() -> None:
    found = Chat(replace(PLAIN, headroom="quantile")).window(seen(400))
    assert found.forecast_rate_per_s == pytest.approx(4.0)
    assert found.rate_per_s > 4.4
    assert (found.quantile, found.shaped_by) == (0.9, "headroom")
    assert Chat(replace(PLAIN, headroom="scenarios")).window(seen(400)).rate_per_s == pytest.approx(4.0)


def test_few_but_large_requests_widen_the_margin() -> None:
    policy = replace(PLAIN, headroom="quantile")
    even, uneven = Chat(policy), Chat(policy)
    for step in range(60):
        calm = even.window(seen(100, 10_000, 1000))
        wild = uneven.window(seen(100, 15_000 if step % 2 else 5000, 1500 if step % 2 else 500))
    assert calm.rate_per_s == pytest.approx(1.0, rel=1e-3)
    assert wild.rate_per_s > 1.3


def test_what_is_planned_for_goes_down_only_to_the_largest_of_the_last_targets() -> None:
    chat = Chat(replace(PLAIN, estimator="last", stabilization_horizons=3))
    assert chat.rates(100, 60, 80, 50, 50, 50, 90) == [1.0, 1.0, 1.0, 0.8, 0.8, 0.5, 0.9]


def test_one_tick_goes_no_further_than_its_largest_step() -> None:
    chat = Chat(replace(PLAIN, estimator="last", max_step_down=0.5, max_step_up=3.0))
    assert chat.rates(800, 100, 100, 100) == [8.0, 4.0, 2.0, 1.0]
    assert chat.rates(10_000) == [3.0]
    assert chat.window(seen(10_000)).shaped_by == "step"


def test_nothing_is_planned_for_once_a_type_was_idle_for_its_retention_and_not_before() -> None:
    chat = Chat(replace(PLAIN, estimator="last", retention_s=300.0))
    chat.window(seen(100))
    found = [chat.window(seen(0)) for _ in range(4)]
    assert [f.shaped_by for f in found] == ["retained", "retained", "idle", "idle"]
    assert [f.rate_per_s for f in found] == [0.01, 0.01, 0.0, 0.0]
    chat.window(None)  # silence proves nothing, and takes nothing back
    assert chat.window(seen(50)).rate_per_s == 0.5, "who asks again is served again"
    own = Chat(replace(PLAIN, estimator="last"), replace(PRIOR, retention_s=100.0))
    own.window(seen(100))
    assert own.window(seen(0)).rate_per_s == 0.0, "the type's own retention"


def test_a_floor_holds_whatever_is_seen() -> None:
    chat = Chat(replace(PLAIN, retention_s=0.0), replace(PRIOR, floor_per_s=0.25))
    chat.window(seen(100))
    found = chat.window(seen(0))
    assert (found.rate_per_s, found.shaped_by) == (0.25, "floor")


def test_the_last_buckets_overrule_a_window_that_they_run_away_from() -> None:
    chat = Chat(replace(PLAIN, headroom="quantile"))
    for _ in range(30):
        chat.window(seen(100, buckets=(10,) * 10))
    surged = chat.window(seen(360, buckets=(10,) * 7 + (97, 97, 96)))
    assert surged.shaped_by == "surge"
    assert 290 / 30 < surged.rate_per_s < 2 * 290 / 30


def test_scenarios_stand_around_what_is_planned_for_and_types_do_not_move_together() -> None:
    memory, policy = DemandMemory(), DemandPolicy(headroom="scenarios")
    rng = np.random.default_rng(0)
    names = ("a", "b")
    for _ in range(80):
        counts = rng.poisson(100, 2)
        types = {name: seen(int(count)) for name, count in zip(names, counts, strict=True)}
        view = WindowView(0.0, 100.0, 1.0, True, types, (), ())
        priors = dict.fromkeys(names, PRIOR)
        memory, demand = estimate_all(memory, view, priors, policy, Margin(np.full(2, 0.9)))
    found = demand_scenarios(memory, demand, policy, 100.0)
    assert found.shape == (NUM_SCENARIOS, 2)
    assert found.mean(axis=0) == pytest.approx([d.rate_per_s for d in demand], rel=0.1)
    assert (found.std(axis=0) > 0.05).all()
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.5


def test_the_work_for_a_type_does_not_grow_with_their_number() -> None:
    def calls(num: int) -> int:
        """Return how many functions are called to take in the second window of ``num`` types."""
        names = [f"type-{number}" for number in range(num)]
        view = WindowView(
            0.0, 100.0, 1.0, True, {name: seen(100, 5, 5, (20,) * 5 + (0,)) for name in names}, (), ()
        )
        priors = dict.fromkeys(names, PRIOR)
        policy = DemandPolicy(headroom="quantile")
        margin = Margin(np.full(num, 0.9))
        memory, _ = estimate_all(DemandMemory(), view, priors, policy, margin)
        number = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal number
            number += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            estimate_all(memory, view, priors, policy, margin)
        finally:
            sys.setprofile(None)
        return number

    few, many = calls(200), calls(2200)
    assert (many - few) / 2000 <= 10
    assert few - 200 * (many - few) / 2000 < 1500
