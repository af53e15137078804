"""The generated day is the same for a seed, in order, and has the rates, bursts and tokens of its profiles."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from controller.errors import SettingsError
from replay.day_figures import ASSUMED, FITTED, PROFILES
from replay.day_profile import BURST_WINDOWS_S, HOUR_S, DayProfile, fit_day_profile, mean_tokens, tokens_at
from replay.generate import DAY_S, DAY_START_S, GeneratedDay, generate_day
from replay.rows import Request


@pytest.fixture(scope="module")
def day() -> list[Request]:
    return list(GeneratedDay(seed=11))


def of_type(requests: list[Request], name: str) -> list[Request]:
    return [request for request in requests if request.query_type == name]


def test_a_seed_gives_the_same_day_and_another_seed_another() -> None:
    first = list(GeneratedDay(seed=3, scale=0.02))
    assert first == list(GeneratedDay(seed=3, scale=0.02))
    assert first != list(GeneratedDay(seed=4, scale=0.02))


def test_an_hour_does_not_depend_on_what_was_drawn_before_it() -> None:
    day = GeneratedDay(seed=3, scale=0.1)
    alone = day.hour(17)
    assert alone == [r for r in day if 17 * HOUR_S <= r.time_s - day.start_s < 18 * HOUR_S]


def test_a_day_is_in_order_of_time_within_its_24_hours_with_tokens_in_every_request(
    day: list[Request],
) -> None:
    assert all(before.time_s <= after.time_s for before, after in pairwise(day))
    assert day[0].time_s >= DAY_START_S
    assert day[-1].time_s < DAY_START_S + DAY_S
    assert all(request.input_tokens >= 1 and request.output_tokens >= 1 for request in day)


def test_a_day_of_full_scale_has_some_420_000_requests_of_all_six_types(day: list[Request]) -> None:
    assert 400_000 < len(day) < 440_000
    assert {request.query_type for request in day} == {
        "summarization", "code_generation", "translation", "math_solving", "image_generation", "video_generation",
    }  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.query_type)
def test_what_is_generated_has_the_rates_and_tokens_of_its_profile(
    profile: DayProfile, day: list[Request]
) -> None:
    refitted = fit_day_profile(profile.query_type, of_type(day, profile.query_type), DAY_START_S)
    expected = np.array(profile.requests_per_h)
    # A burst lifts a whole minute, so an hour's count has a standard deviation of up to 6 %, besides its own noise.
    tolerance = 0.2 * expected + 4 * np.sqrt(expected)
    assert (np.abs(np.array(refitted.requests_per_h) - expected) < tolerance).all()
    assert sum(refitted.requests_per_h) == pytest.approx(sum(expected), rel=0.05)
    for drawn, given in (
        (refitted.input_quantiles, profile.input_quantiles),
        (refitted.output_quantiles, profile.output_quantiles),
    ):
        assert mean_tokens(drawn) == pytest.approx(mean_tokens(given), rel=0.05)


@pytest.mark.parametrize("profile", FITTED, ids=lambda profile: profile.query_type)
def test_arrivals_are_as_bursty_as_the_profile_says_at_every_time_scale(profile: DayProfile) -> None:
    seeds = range(5)
    drawn = [
        fit_day_profile("", GeneratedDay(seed, 1.0, DAY_START_S, [profile]), DAY_START_S).burstiness
        for seed in seeds
    ]
    for level, window_s in enumerate(BURST_WINDOWS_S):
        mean = np.mean([burstiness[level] for burstiness in drawn])
        assert mean == pytest.approx(profile.burstiness[level], rel=0.15, abs=0.004), f"{window_s} s"


def test_without_burstiness_arrivals_are_a_poisson_process() -> None:
    calm = DayProfile("calm", (3600.0,) * 24, (0.0, 0.0, 0.0), (5.0,) * 18, (5.0,) * 18)
    times_s = [request.time_s for request in GeneratedDay(0, 1.0, DAY_START_S, [calm])]
    gaps_s = np.diff(times_s)
    assert gaps_s.mean() == pytest.approx(1.0, rel=0.02)
    assert gaps_s.std() == pytest.approx(1.0, rel=0.02)


def test_scale_multiplies_the_rates_and_leaves_the_tokens(day: list[Request]) -> None:
    half = list(GeneratedDay(seed=11, scale=0.5))
    assert len(half) == pytest.approx(0.5 * len(day), rel=0.03)
    for name in ("summarization", "translation"):
        means = [np.mean([r.input_tokens for r in of_type(requests, name)]) for requests in (half, day)]
        assert means[0] == pytest.approx(means[1], rel=0.05)


def test_a_day_may_begin_anywhere_and_be_cut_short() -> None:
    part = list(generate_day(start_s=1.6e9, seed=1, scale=0.05, hours=1.5))
    whole = list(generate_day(start_s=1.6e9, seed=1, scale=0.05))
    assert part == whole[: len(part)]
    assert whole[len(part)].time_s >= 1.6e9 + 1.5 * HOUR_S > part[-1].time_s


def test_the_first_requests_are_there_before_the_day_is_drawn() -> None:
    assert len(list(islice(generate_day(scale=10.0, hours=1), 10))) == 10


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"scale": 0.0}, {"scale": float("nan")}, {"scale": 1e9}, {"start_s": 1e12}, {"hours": 25}]
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        generate_day(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.query_type)
def test_every_profile_is_whole(profile: DayProfile) -> None:
    assert len(profile.requests_per_h) == 24
    assert len(profile.burstiness) == len(BURST_WINDOWS_S)
    for quantiles in (profile.input_quantiles, profile.output_quantiles):
        assert quantiles[0] >= 1
        assert list(quantiles) == sorted(quantiles)


def test_the_mean_of_quantiles_is_that_of_what_is_drawn_from_them() -> None:
    for profile in (*FITTED, *ASSUMED):
        evenly = (np.arange(200_000) + 0.5) / 200_000
        drawn = tokens_at(profile.output_quantiles, evenly).mean()
        assert drawn == pytest.approx(mean_tokens(profile.output_quantiles), rel=0.01)


def test_nothing_to_fit_is_a_day_without_requests() -> None:
    empty = fit_day_profile("none", [], DAY_START_S)
    assert list(GeneratedDay(0, 1.0, DAY_START_S, [empty])) == []
