"""The backtest: what a day costs by hand, no look-ahead, what is read from files, and the command."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from controller.cli import main
from controller.demand.distribution import ResidualEstimator
from controller.demand.forecasters import LastValue
from controller.errors import TraceError
from controller.simulate.backtest import DayScore, Rule, hindsight, play
from controller.simulate.named_rules import OURS, named_rules, our_rule
from controller.simulate.policies import Economy, Reactive, Stabilized, WorthItsRent
from controller.simulate.report import run_backtest
from controller.simulate.series import Series, read_series

RULES = [*named_rules(), our_rule()]


def series(counts: list[float], window_s: float = 300.0) -> Series:
    return Series("chat", 0.0, window_s, np.array(counts))


class Fixed:
    """Aims at what it was told, whatever it sees."""

    quantile = None

    def __init__(self, targets: list[float]) -> None:
        self.targets = list(targets)
        self.given: list[np.ndarray] = []

    def decide(self, counts: np.ndarray, _running: np.ndarray) -> np.ndarray:
        self.given.append(counts)
        return np.full(len(counts), self.targets.pop(0))


def score_of(policy: Fixed, counts: list[float], rho: float, windows: int = 1) -> DayScore:
    (found,) = play([series(counts)], Rule("x", lambda *_: policy, windows), rho, start_s=150.0)
    return found


def test_rent_starts_and_penalties_are_those_worked_out_by_hand() -> None:
    # Mean 100, so a replica serves 10 a window; a start costs half a window. The first window is nobody's.
    found = score_of(Fixed([8, 12, 12]), [100, 100, 150, 50], rho=10)
    # rent (8 + 12 + 12) + 4 started * 0.5 = 34 replicas = 340; unmet 20 + 30 = 50; demand 300
    assert found.cost == pytest.approx((340 + 10 * 50) / 300)
    assert (found.unmet, found.rent) == (pytest.approx(50 / 300), pytest.approx(340 / 300))


def test_changes_of_direction_and_churn_are_counted() -> None:
    found = score_of(Fixed([10, 12, 11, 13, 13]), [100] * 6, rho=10)
    assert found.flaps == 2
    assert found.churn_per_h == pytest.approx((2 + 1 + 2) / 11.8 / (5 * 300 / 3600))


def test_capacity_goes_down_only_to_the_largest_of_the_last_targets() -> None:
    policy = Stabilized(Fixed([10, 6, 8, 5, 5, 5, 9]), windows=3)
    running, seen = np.array([np.nan]), []
    for _ in range(7):
        running = policy.decide(np.zeros(1), running)
        seen.append(running[0])
    assert seen == [10, 10, 10, 8, 8, 5, 9]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_rule_can_tell_two_futures_apart(rule: Rule) -> None:
    rng = np.random.default_rng(7)
    past, future = rng.poisson(100, 48), rng.poisson(np.linspace(10, 1000, 24))
    # The same windows in another order, so that the size of a replica is the same, too.
    scores = [
        play([series([*map(float, past), *map(float, to_come)], window_s=3600.0)], rule, 10.0)
        for to_come in (future, future[::-1])
    ]
    assert scores[0][:2] == scores[1][:2]
    assert scores[0][2] != scores[1][2]


def test_a_policy_that_tries_to_cheat_finds_neither_the_future_nor_the_ledger() -> None:
    class Cheat(Fixed):
        def decide(self, counts: np.ndarray, running: np.ndarray) -> np.ndarray:
            assert counts.base is None, "a view of the series would lead to the windows that are to come"
            assert running.base is None
            counts[:] = 0.0  # rewriting the past
            running[:] = 1e9
            return super().decide(counts, running)

    honest = score_of(Fixed([8, 12, 12]), [100, 100, 150, 50], rho=10)
    assert score_of(Cheat([8, 12, 12]), [100, 100, 150, 50], rho=10) == honest


def test_a_decision_is_in_force_before_the_window_that_it_is_for_is_looked_at() -> None:
    policy = Fixed([10, 10, 10])
    score_of(policy, [100, 100, 150, 50], rho=10)
    assert [given.tolist() for given in policy.given] == [[100.0], [100.0], [150.0]], "never the last window"


def test_a_replica_is_bought_while_the_demand_that_it_saves_is_worth_its_rent() -> None:
    # Errors of 0 and of +50 by turns: the fifth to tenth replica is needed half of the time.
    estimator = ResidualEstimator(AlwaysHundred())
    for rho, replicas in ((1.5, 10), (3.0, 15)):
        policy = WorthItsRent(estimator, Economy(np.array([10.0]), rho, 0.0), 0.0)
        running = np.array([np.nan])
        for step in range(100):
            running = policy.decide(np.array([150.0 if step % 2 else 100.0]), running)
        assert running[0] == replicas


class AlwaysHundred(LastValue):
    """Expects 100, whatever it sees."""

    def forecast(self, _state: object, _lead: int) -> np.ndarray:
        return np.array([100.0])


def test_what_a_start_costs_keeps_a_replica_that_would_be_stopped_only_to_be_started_again() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(100, 300).astype(float).tolist()
    estimator = ResidualEstimator(LastValue())

    def flaps(share: float) -> int:
        rule = Rule("x", lambda economy, _: WorthItsRent(estimator, economy, share), 1)
        return sum(score.flaps for score in play([series(counts)], rule, 10.0))

    assert flaps(0.5) < 0.75 * flaps(0.0)


def test_a_reactive_rule_stays_within_its_tolerance() -> None:
    policy = Reactive(Economy(np.array([10.0]), 10.0, 1.0))
    running = policy.decide(np.array([70.0]), np.array([np.nan]))
    assert running[0] == 10
    assert policy.decide(np.array([74.0]), running)[0] == 10
    assert policy.decide(np.array([90.0]), running)[0] == 13


def test_static_fleets_in_hindsight_are_priced_in_whole_replicas() -> None:
    found = hindsight([series([100.0, 50.0, 150.0, 100.0])], rho=10.0)
    assert found["peak"] == pytest.approx(1.5)
    assert found["mean"] == pytest.approx(1.0 + 10 * 50 / 400)
    assert found["best"] == pytest.approx(1.5)


def test_ours_stands_beside_the_others_with_a_ratio_and_a_rent_at_matched_unmet_demand() -> None:
    rng = np.random.default_rng(0)
    rates = 300 * np.exp(np.cumsum(rng.normal(0, 0.08, 100)))
    rules = [rule for rule in RULES if rule.name in (OURS, "1.2 x last")]
    report = run_backtest([series(rng.poisson(rates).astype(float).tolist())], rules, [5.0, 20.0])
    assert set(report.ratios) == {"5", "20"}
    assert {summary.rule for summary in report.summaries} == {rule.name for rule in rules}
    assert (report.rent_at_matched_unmet[OURS] or 0) > 1
    assert report.rent_at_matched_unmet["1.2 x last"] is None, "it has no margin to set"


def write_azure(path: Path, times_s: list[float]) -> Path:
    rows = [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f},100,10" for at in times_s]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    return path


def test_windows_that_the_trace_covers_in_part_are_left_out(tmp_path: Path) -> None:
    begin = 1_772_582_400.0
    path = write_azure(tmp_path / "part.csv", [begin + at for at in range(100, 1000, 10)])
    (found,) = read_series([path], 300.0)
    assert (found.start_s, found.counts.tolist()) == (begin + 300, [30.0, 30.0])


def test_a_trace_too_short_for_two_windows_is_refused_by_name(tmp_path: Path) -> None:
    path = write_azure(tmp_path / "short.csv", [1_772_582_400.0, 1_772_582_500.0])
    with pytest.raises(TraceError, match=r"short\.csv: must cover two windows of 300 s"):
        read_series([path], 300.0)


def test_rates_of_an_archive_are_summed_up_by_groups_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "rates.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for client, rate in ((1, 2.0), (6, 3.0), (2, 1.0)):
            text = f"0,{rate},1,Gamma,1,1\n600,{2 * rate},1,,0,0\n".encode()
            member = tarfile.TarInfo(f"language/m-small/chunk-{client}-trace.csv")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    found = {one.name: one.counts.tolist() for one in read_series([path], 300.0)}
    assert found == {"m-small-1": [3000.0, 6000.0], "m-small-2": [600.0, 1200.0]}


def test_the_command_prints_the_table_and_writes_the_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    path = write_azure(tmp_path / "day.csv", sorted(1_772_582_400 + rng.uniform(0, 18_000, 4000)))
    arguments = [
        "backtest",
        str(path),
        "--rho",
        "10",
        "--matched-unmet",
        "0",
        "--output",
        str(tmp_path / "out"),
    ]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    assert f"| **{OURS}** |" in ran.stdout
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["type_days"] == 1
    assert (tmp_path / "out" / "cost.svg").read_text().startswith("<svg ")
    as_json = CliRunner().invoke(main, [*arguments[:-2], "--json"])
    assert json.loads(as_json.stdout)["ratios"] == written["ratios"]


def test_a_trace_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["backtest", str(tmp_path / "nowhere.csv")])
    assert ran.exit_code == 2
    assert "nowhere.csv" in ran.stderr
