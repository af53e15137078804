"""Estimators: a forecast with its spread, for each lead, behind one small protocol.

An estimator is a rule without state of its own, as a forecaster is. What it remembers are arrays with a row for each
query type; a count of NaN says that nothing was heard of a type in this window, and leaves its row as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controller.demand.forecasters import Arrays, Bools, Floats, Forecaster, rows_where
from controller.demand.residuals import KEPT, Spread, empty_ring, push, residual


class Outlook(Protocol):
    """What is expected a lead ahead, for all types."""

    @property
    def forecast(self) -> Floats:
        """Return the counts (N,) expected."""
        ...

    def quantile(self, level: Floats | float) -> Floats:
        """Return the counts (N,) that are not exceeded with probability ``level``."""
        ...

    def scenarios(self, number: int) -> Floats:
        """Return (N, ``number``) equally likely counts."""
        ...

    def stddev(self) -> Floats:
        """Return the standard deviation (N,) of the counts."""
        ...


class Estimator(Protocol):
    """A rule that says how likely which counts are, a few windows ahead."""

    @property
    def leads(self) -> tuple[int, ...]:
        """How many windows ahead it can be asked for."""
        ...

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """Return the state of ``num`` types that nothing was seen of."""
        ...

    def observe(self, state: Arrays, counts: Floats, work: Floats | None = None) -> dict[str, NDArray[Any]]:
        """Return the state after a window.

        Parameters
        ----------
        counts : (N,) requests; NaN where nothing was heard.
        work : (N,) what they asked for, in requests of mean size: errors are taken of it. None: the counts.
        """
        ...

    def outlook(self, state: Arrays, lead: int = 1) -> Outlook:
        """Return what is expected ``lead`` windows ahead."""
        ...


@dataclass(frozen=True, slots=True)
class ResidualEstimator:
    """A forecaster with the spread of its own last errors, at each lead.

    Parameters
    ----------
    forecaster : says what is expected.
    leads : in windows; each has its own errors.
    kept : W, errors remembered for each type and lead.
    exponent : of the forecast, by which errors are taken to grow.
    """

    forecaster: Forecaster
    leads: tuple[int, ...] = (1,)
    kept: int = KEPT
    exponent: float = 0.5

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Estimator`."""
        state = {f"forecaster.{name}": array for name, array in self.forecaster.fresh(num).items()}
        for lead in self.leads:
            state[f"due.{lead}"] = np.full((num, lead), np.nan)
            state[f"ring.{lead}"] = empty_ring(num, self.kept)
            state[f"number.{lead}"] = np.zeros(num, dtype=np.int64)
        return state

    def observe(self, state: Arrays, counts: Floats, work: Floats | None = None) -> dict[str, NDArray[Any]]:
        """See :class:`Estimator`."""
        seen = np.isfinite(counts)
        old = self._inner(state)
        inner = rows_where(seen, self.forecaster.observe(old, np.where(seen, counts, 0.0)), old)
        new = {f"forecaster.{name}": array for name, array in inner.items()}
        for lead in self.leads:
            due = state[f"due.{lead}"]
            errors = residual(counts if work is None else work, due[:, 0], self.exponent)
            errors[~seen] = np.nan
            new[f"ring.{lead}"], new[f"number.{lead}"] = push(
                state[f"ring.{lead}"], state[f"number.{lead}"], errors
            )
            ahead = self.forecaster.forecast(inner, lead)
            # Of a type that nothing was ever heard of there is no forecast to be wrong about.
            was_ever_seen = seen | np.isfinite(due[:, -1])
            new[f"due.{lead}"] = np.column_stack([due[:, 1:], np.where(was_ever_seen, ahead, np.nan)])
        return new

    def outlook(self, state: Arrays, lead: int = 1) -> Spread:
        """See :class:`Estimator`."""
        forecast = self.forecaster.forecast(self._inner(state), lead)
        return Spread.of(forecast, state[f"ring.{lead}"], state[f"number.{lead}"], self.exponent)

    def _inner(self, state: Arrays) -> dict[str, NDArray[Any]]:
        prefix = "forecaster."
        return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Experts:
    """Several estimators, weighted by how well each has done in money.

    The loss of a member is the pinball loss of its quantile ``level``, over what the members lost lately on average;
    its weight is ``exp(-rate · loss)``, where the loss of the past is forgotten by ``memory`` a window.

    Parameters
    ----------
    members : estimators with the same leads.
    level : τ of the quantile that is scored.
    rate : η of the exponential weights.
    """

    members: tuple[Estimator, ...]
    level: float = 0.9
    rate: float = 0.5
    memory: float = 0.99

    @property
    def leads(self) -> tuple[int, ...]:
        """See :class:`Estimator`."""
        return self.members[0].leads

    def fresh(self, num: int) -> dict[str, NDArray[Any]]:
        """See :class:`Estimator`."""
        state: dict[str, NDArray[Any]] = {
            "loss": np.zeros((num, len(self.members))),
            "scale": np.zeros(num),
            "due": np.full((num, len(self.members)), np.nan),
        }
        for at, member in enumerate(self.members):
            state |= {f"{at}.{name}": array for name, array in member.fresh(num).items()}
        return state

    def observe(self, state: Arrays, counts: Floats, work: Floats | None = None) -> dict[str, NDArray[Any]]:
        """See :class:`Estimator`."""
        actual = (counts if work is None else work)[:, None]
        excess = actual - state["due"]
        pinball: Floats = np.maximum(self.level * excess, (self.level - 1) * excess)
        is_scored: Bools = np.isfinite(pinball.sum(axis=1))
        pinball = np.where(is_scored[:, None], pinball, 0.0)
        mean: Floats = pinball.mean(axis=1)
        scale: Floats = np.where(
            state["scale"] > 0, 0.95 * state["scale"] + 0.05 * mean, np.maximum(mean, 1.0)
        )
        scale = np.where(is_scored, scale, state["scale"])
        relative = pinball / np.where(scale > 0, scale, 1.0)[:, None]
        loss = np.where(is_scored[:, None], self.memory * state["loss"] + relative, state["loss"])
        new: dict[str, NDArray[Any]] = {"loss": loss, "scale": scale}
        due = []
        for at, member in enumerate(self.members):
            inner = member.observe(self._of(state, at), counts, work)
            due.append(member.outlook(inner, self.leads[0]).quantile(self.level))
            new |= {f"{at}.{name}": array for name, array in inner.items()}
        was_ever_seen = np.isfinite(counts) | np.isfinite(state["due"][:, 0])
        new["due"] = np.where(was_ever_seen[:, None], np.column_stack(due), np.nan)
        return new

    def weights(self, state: Arrays) -> Floats:
        """Return how much each member counts, (N, members); rows sum to 1."""
        loss = state["loss"]
        raw = np.exp(-self.rate * (loss - loss.min(axis=1, keepdims=True)))
        found: Floats = raw / raw.sum(axis=1, keepdims=True)
        return found

    def outlook(self, state: Arrays, lead: int = 1) -> _Mixed:
        """See :class:`Estimator`."""
        return _Mixed(
            self.weights(state),
            [member.outlook(self._of(state, at), lead) for at, member in enumerate(self.members)],
        )

    def _of(self, state: Arrays, at: int) -> dict[str, NDArray[Any]]:
        prefix = f"{at}."
        return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class _Mixed:
    """Quantiles of several outlooks, averaged."""

    weights: Floats
    parts: Sequence[Outlook]

    def _mean(self, values: list[Floats]) -> Floats:
        found: Floats = (np.column_stack(values) * self.weights).sum(axis=1)
        return found

    @property
    def forecast(self) -> Floats:
        return self._mean([part.forecast for part in self.parts])

    def quantile(self, level: Floats | float) -> Floats:
        return self._mean([part.quantile(level) for part in self.parts])

    def scenarios(self, number: int) -> Floats:
        stacked = np.stack([part.scenarios(number) for part in self.parts], axis=2)
        found: Floats = (stacked * self.weights[:, None, :]).sum(axis=2)
        return found

    def stddev(self) -> Floats:
        return self._mean([part.stddev() for part in self.parts])
