"""When to stop: tiny rules that are asked between steps. All of the optimizer's sense of time is in here."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search has come.

    Attributes
    ----------
    iterations : steps of AGH (MILPs), or starts of the plain one, done so far.
    objective_usd : cost of the best plan; inf while there is none.
    lower_bound_usd : a cost that no plan is below; None while there is none.
    """

    iterations: int = 0
    objective_usd: float = math.inf
    lower_bound_usd: float | None = None

    @property
    def gap(self) -> float:
        """``(objective - bound) / objective``; inf where either is missing."""
        return relative_gap(self.objective_usd, self.lower_bound_usd)


def relative_gap(objective_usd: float, lower_bound_usd: float | None) -> float:
    """Return ``(objective - bound) / objective``, 0 where both are zero; inf where either is missing."""
    if lower_bound_usd is None or not math.isfinite(objective_usd):
        return math.inf
    difference = max(objective_usd - lower_bound_usd, 0.0)
    if difference == 0.0:
        return 0.0
    return difference / abs(objective_usd) if objective_usd else math.inf


class StopRule(ABC):
    """Base of the rules: says whether to stop, and what is left for a step that cannot be asked in between."""

    def start(self) -> None:  # noqa: B027 - most rules have nothing to begin anew
        """Begin anew; every solve does this first, so that a rule can be used again."""

    @abstractmethod
    def __call__(self, progress: Progress) -> bool:
        """Return whether to stop."""

    def remaining_s(self) -> float:
        """Return the time that is left, s; inf where time is no limit."""
        return math.inf

    def remaining_iterations(self) -> int | None:
        """Return how many iterations there may be in all; None where they are no limit."""
        return None


class MaxRuntime(StopRule):
    """Stop after ``seconds``, counted from :meth:`start`.

    Parameters
    ----------
    seconds : at least 0.
    clock : returns seconds; only differences count.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        if not seconds >= 0:
            raise ValueError(f"seconds must be at least 0, got {seconds!r}")
        self._seconds = seconds
        self._clock = clock
        self._started = clock()

    def start(self) -> None:
        """Count from now."""
        self._started = self._clock()

    def __call__(self, progress: Progress) -> bool:  # noqa: ARG002
        """Return whether the time is up."""
        return self.remaining_s() <= 0

    def remaining_s(self) -> float:
        """Return the time that is left, s; below zero once it is up."""
        return self._seconds - (self._clock() - self._started)


class MaxIterations(StopRule):
    """Stop after ``count`` iterations: steps of AGH, branch-and-bound nodes of a MILP. Never looks at a clock."""

    def __init__(self, count: int) -> None:
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count!r}")
        self._count = count

    def __call__(self, progress: Progress) -> bool:
        """Return whether there have been that many."""
        return progress.iterations >= self._count

    def remaining_iterations(self) -> int | None:
        """Return how many there may be in all."""
        return self._count


class MaxGap(StopRule):
    """Stop once the plan is proved to be within ``gap`` of the optimum, relative to the plan's cost."""

    def __init__(self, gap: float) -> None:
        if not gap >= 0:
            raise ValueError(f"gap must be at least 0, got {gap!r}")
        self._gap = gap

    def __call__(self, progress: Progress) -> bool:
        """Return whether the gap is small enough."""
        return progress.gap <= self._gap


class NoImprovement(StopRule):
    """Stop after ``count`` iterations in a row without a better plan."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count!r}")
        self._count = count
        self._best_usd = math.inf
        self._since = 0

    def start(self) -> None:
        """Forget the plan that was best before."""
        self._best_usd, self._since = math.inf, 0

    def __call__(self, progress: Progress) -> bool:
        """Return whether the last improvement is that long ago."""
        if progress.objective_usd < self._best_usd:
            self._best_usd, self._since = progress.objective_usd, progress.iterations
        return progress.iterations - self._since >= self._count


class AnyOf(StopRule):
    """Stop as soon as one of the rules says so."""

    def __init__(self, *rules: StopRule) -> None:
        if not rules:
            raise ValueError("AnyOf needs at least one rule")
        self._rules = rules

    def start(self) -> None:
        """Begin all of them anew."""
        for rule in self._rules:
            rule.start()

    def __call__(self, progress: Progress) -> bool:
        """Return whether one of them says so; all are asked, as some count."""
        answers = [rule(progress) for rule in self._rules]
        return any(answers)

    def remaining_s(self) -> float:
        """Return the least time that any of them leaves."""
        return min(rule.remaining_s() for rule in self._rules)

    def remaining_iterations(self) -> int | None:
        """Return the least count that any of them allows."""
        counts = [count for rule in self._rules if (count := rule.remaining_iterations()) is not None]
        return min(counts, default=None)
