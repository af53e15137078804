"""Point forecasts of counts, for all query types side by side.

A forecaster is a rule without state of its own: what it remembers is a mapping of arrays with one row for each type,
so that ten thousand types cost a few passes over memory, and the state is as plain to write down as it looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]
"""What is remembered: by name, arrays whose first axis is the query type."""


class Forecaster(Protocol):
    """A rule that says what the next counts will be, from those that were."""

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """Return the state of ``num`` types that nothing was seen of."""
        ...

    def observe(self, state: Arrays, counts: Floats) -> dict[str, NDArray[Any]]:
        """Return the state after a window with these counts (N,), in requests; NaN is refused by nobody: mask it."""
        ...

    def forecast(self, state: Arrays, lead: int) -> Floats:
        """Return the counts (N,) expected ``lead`` windows ahead; 0 where nothing was seen."""
        ...


def rows_where(seen: Bools, new: Arrays, old: Arrays) -> dict[str, NDArray[Any]]:
    """Return ``new`` for the rows that are ``seen`` (N,), and ``old`` for the others."""
    if bool(seen.all()):
        return dict(new)
    return {
        name: np.where(seen.reshape(-1, *[1] * (array.ndim - 1)), array, old[name])
        for name, array in new.items()
    }


@dataclass(frozen=True, slots=True)
class LastValue:
    """The next window will be like the last."""

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        return {"last": np.zeros(num)}

    def observe(self, state: Arrays, counts: Floats) -> dict[str, NDArray[Any]]:  # noqa: ARG002 - the protocol's
        """See :class:`Forecaster`."""
        return {"last": counts}

    def forecast(self, state: Arrays, lead: int) -> Floats:  # noqa: ARG002 - the same for all leads
        """See :class:`Forecaster`."""
        return state["last"]


@dataclass(frozen=True, slots=True)
class Ewma:
    """A level that moves by ``alpha``: ``w <- α + (1 - α) w``, ``l <- l + (α / w)(y - l)``.

    The first observation is the level; it is the local-level model with a constant gain.
    """

    alpha: float = 0.7

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        return {"level": np.zeros(num), "weight": np.zeros(num)}

    def observe(self, state: Arrays, counts: Floats) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        weight = self.alpha + (1 - self.alpha) * state["weight"]
        level = state["level"] + self.alpha / weight * (counts - state["level"])
        return {"level": level, "weight": weight}

    def forecast(self, state: Arrays, lead: int) -> Floats:  # noqa: ARG002 - a level is the same for all leads
        """See :class:`Forecaster`."""
        return state["level"]


@dataclass(frozen=True, slots=True)
class WindowPercentile:
    """The ``percentile`` of the last ``windows`` counts, an order statistic of what was seen so far."""

    windows: int = 12
    percentile: float = 50.0

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        return {"counts": np.full((num, self.windows), np.inf), "number": np.zeros(num, dtype=np.int64)}

    def observe(self, state: Arrays, counts: Floats) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        kept = state["counts"].copy()
        kept[np.arange(len(kept)), state["number"] % self.windows] = counts
        return {"counts": kept, "number": state["number"] + 1}

    def forecast(self, state: Arrays, lead: int) -> Floats:  # noqa: ARG002 - the same for all leads
        """See :class:`Forecaster`."""
        ordered = np.sort(state["counts"], axis=1)  # what was not seen yet is inf, at the end
        number = np.minimum(state["number"], self.windows)
        rank = np.maximum(np.ceil(number * self.percentile / 100.0).astype(np.int64), 1) - 1
        found: Floats = np.where(number > 0, ordered[np.arange(len(ordered)), rank], 0.0)
        return found


@dataclass(frozen=True, slots=True)
class MeanReverting:
    """AR(1) around a slow mean: ``f = m + φ^lead (l - m)``.

    ``l`` is a level that moves by ``alpha`` (1: the last count), ``m`` a mean that moves by ``mean_alpha``, and φ the
    regression of a deviation from the mean on the one before, over about ``1 / (1 - memory)`` windows, within
    ``[0, 1]``. Until ``warm_up`` windows were seen φ is 1: nothing is known of the mean yet.
    """

    alpha: float = 1.0
    mean_alpha: float = 0.03
    memory: float = 0.98
    warm_up: int = 12

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        names = ("level", "level_weight", "mean", "mean_weight", "covariance", "variance")
        return {name: np.zeros(num) for name in names} | {"number": np.zeros(num, dtype=np.int64)}

    def observe(self, state: Arrays, counts: Floats) -> dict[str, NDArray[Any]]:
        """See :class:`Forecaster`."""
        before = np.where(state["number"] > 0, state["level"] - state["mean"], 0.0)
        covariance = self.memory * state["covariance"] + before * (counts - state["mean"])
        variance = self.memory * state["variance"] + before * before
        level_weight = self.alpha + (1 - self.alpha) * state["level_weight"]
        mean_weight = self.mean_alpha + (1 - self.mean_alpha) * state["mean_weight"]
        return {
            "level": state["level"] + self.alpha / level_weight * (counts - state["level"]),
            "level_weight": level_weight,
            "mean": state["mean"] + self.mean_alpha / mean_weight * (counts - state["mean"]),
            "mean_weight": mean_weight,
            "covariance": covariance,
            "variance": variance,
            "number": state["number"] + 1,
        }

    def persistence(self, state: Arrays) -> Floats:
        """Return φ (N,)."""
        variance = state["variance"]
        is_known = (state["number"] > self.warm_up) & (variance > 1e-6)
        ratio = np.divide(state["covariance"], variance, out=np.ones_like(variance), where=is_known)
        return np.clip(ratio, 0.0, 1.0)

    def forecast(self, state: Arrays, lead: int) -> Floats:
        """See :class:`Forecaster`."""
        mean = state["mean"]
        found: Floats = np.maximum(mean + self.persistence(state) ** lead * (state["level"] - mean), 0.0)
        return found
