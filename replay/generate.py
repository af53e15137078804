"""Generates a day of requests of the six query types, hour by hour, the same one for the same seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from controller.errors import SettingsError
from replay.day_figures import PROFILES
from replay.day_profile import BURST_WINDOWS_S, HOUR_S, HOURS, DayProfile, tokens_at
from replay.rows import Request
from schemas.base import EARLIEST_S, LATEST_S

DAY_START_S = 1_772_582_400.0
"""2026-03-04T00:00:00Z, a Wednesday."""
DAY_S = HOURS * HOUR_S
LARGEST_SCALE = 100.0
"""Beyond it an hour, which is drawn at once, no longer fits into memory."""
_MICROSECONDS = 1_000_000

_HourOfType = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class GeneratedDay:
    """A day of requests in order of time.

    Arrivals are a Poisson process whose rate is the hour's, times a gamma-distributed factor of mean 1 for each
    minute, each 10 s and each second, whose variances give the profile's burstiness. Tokens are drawn from the
    profile's quantiles, input and output independently of each other, as in the traces that they were fitted to.

    Every hour of every type has its own random stream, so an hour does not depend on what was drawn before it.

    Parameters
    ----------
    seed : the same seed gives the same day, on every machine with the same NumPy.
    scale : multiplies all rates.
    start_s : where the day begins, s since the epoch.
    profiles : one for each query type.

    Raises
    ------
    SettingsError : a parameter out of range.
    """

    seed: int = 0
    scale: float = 1.0
    start_s: float = DAY_START_S
    profiles: Sequence[DayProfile] = PROFILES

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SettingsError("seed", "must not be negative", self.seed)
        if not (math.isfinite(self.scale) and 0 < self.scale <= LARGEST_SCALE):
            raise SettingsError("scale", f"must be above 0 and at most {LARGEST_SCALE:g}", self.scale)
        if not EARLIEST_S <= self.start_s <= LATEST_S - DAY_S:
            raise SettingsError("start_s", "the day must lie in the years 2000 to 2099", self.start_s)

    @property
    def query_types(self) -> tuple[str, ...]:
        """The types, in the order of the catalog."""
        return tuple(profile.query_type for profile in self.profiles)

    def __iter__(self) -> Iterator[Request]:
        for hour in range(HOURS):
            yield from self.hour(hour)

    def hour(self, hour: int) -> list[Request]:
        """Return the requests of one hour of the day (0 to 23), in order of time."""
        drawn = [self._draw(number, profile, hour) for number, profile in enumerate(self.profiles)]
        times_us, inputs, outputs = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        types = np.repeat(np.arange(len(drawn)), [len(part[0]) for part in drawn])
        order = np.argsort(times_us, kind="stable")
        times_s = self.start_s + hour * HOUR_S + times_us[order] / _MICROSECONDS
        names = self.query_types
        return [
            Request(time_s, names[type_number], input_tokens, output_tokens)
            for time_s, type_number, input_tokens, output_tokens in zip(
                times_s.tolist(),
                types[order].tolist(),
                inputs[order].tolist(),
                outputs[order].tolist(),
                strict=True,
            )
        ]

    def _draw(self, number: int, profile: DayProfile, hour: int) -> _HourOfType:
        """Draw times (µs from the hour's start, unordered), input tokens and output tokens."""
        stream = np.random.SeedSequence(self.seed, spawn_key=(number, hour))
        rng = np.random.Generator(np.random.PCG64(stream))
        rate_per_s = self.scale * profile.requests_per_h[hour] / HOUR_S
        counts = rng.poisson(rate_per_s * _burst_factors(profile.burstiness, rng))
        total = int(counts.sum())
        seconds = np.repeat(np.arange(HOUR_S, dtype=np.int64), counts)
        times_us = seconds * _MICROSECONDS + rng.integers(0, _MICROSECONDS, total)
        inputs = tokens_at(profile.input_quantiles, rng.random(total))
        outputs = tokens_at(profile.output_quantiles, rng.random(total))
        return times_us, inputs, outputs


def generate_day(
    start_s: float = DAY_START_S, seed: int = 0, scale: float = 1.0, hours: float = HOURS
) -> Iterator[Request]:
    """Yield the first ``hours`` of a :class:`GeneratedDay`, hour by hour.

    Raises
    ------
    SettingsError : a parameter out of range, before the first request.

    Examples
    --------
    >>> next(generate_day(seed=7, scale=0.01)).query_type
    'translation'
    """
    if not 0 < hours <= HOURS:
        raise SettingsError("hours", f"must be above 0 and at most {HOURS}", hours)
    day = GeneratedDay(seed, scale, start_s)
    end_s = start_s + hours * HOUR_S
    return takewhile(lambda request: request.time_s < end_s, day)


def _burst_factors(burstiness: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what the rate of each second of an hour is multiplied by, of mean 1.

    The factors of nested windows multiply. Counts in a window of n smaller ones also vary because these do, by an nth
    of what is theirs alone; so the factors down to a window, together, need the variance ``(e - e' / n) / (1 - 1 / n)``
    where e and e' are the burstiness of the window and of the next smaller one.
    """
    factors = np.ones(HOUR_S)
    so_far = 0.0
    for level, window_s in enumerate(BURST_WINDOWS_S):
        together = burstiness[level]
        if level + 1 < len(BURST_WINDOWS_S):
            parts = window_s / BURST_WINDOWS_S[level + 1]
            together = (together - burstiness[level + 1] / parts) / (1.0 - 1.0 / parts)
        variance = (1.0 + together) / (1.0 + so_far) - 1.0
        if variance > 0:
            own = rng.gamma(1.0 / variance, variance, HOUR_S // window_s)
            factors *= np.repeat(own, window_s)
            so_far = together
    return factors
