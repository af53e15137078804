"""A move: by how much which shares change, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import (
    LEAST_AMOUNT,
    SHORTFALL_ROUNDING,
    SLACK_ROUNDING,
    AllocationState,
    needed_replicas,
)


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """``change`` (I, n) of the shares at the deployments ``at`` (n,), and the cost difference it makes.

    What is taken from one place and not given to another is shed; what is given beyond that was unmet before.
    """

    at: Ints
    change: Floats
    delta_usd: float

    def apply(self, state: AllocationState) -> None:
        """Carry the move out, what is taken away first."""
        for sign in (-1.0, 1.0):
            for i, n in np.argwhere(self.change * sign > 0):
                state.add(int(i), int(self.at[n]), float(self.change[i, n]))

    @classmethod
    def between(cls, before: AllocationState, after: AllocationState) -> Move:
        """Return the move that leads from one state to another of the same space."""
        change = after.shares - before.shares
        at = np.flatnonzero((np.abs(change) > LEAST_AMOUNT).any(axis=0))
        return cls(at, change[:, at], after.cost_usd() - before.cost_usd())


def best_first(moves: list[Move]) -> list[Move]:
    """Return moves by what they save, the greatest saving first."""
    return sorted(moves, key=lambda move: move.delta_usd)


def shed_usd(space: SearchSpace, unmet: Floats, at: Ints | slice = slice(None)) -> Floats:
    """Return (I,) what it costs to leave ``unmet`` shares unmet, beyond ζ_i included."""
    over = np.maximum(unmet - space.max_unmet[at], 0.0)
    usd: Floats = space.unmet_usd[at] * unmet + space.shortfall_usd * np.where(
        over > SHORTFALL_ROUNDING, over, 0.0
    )
    return usd


def shed_usd_of(space: SearchSpace, i: int, unmet: float) -> float:
    """Return :func:`shed_usd` of one type."""
    over = unmet - float(space.max_unmet[i])
    return float(space.unmet_usd[i]) * unmet + (
        space.shortfall_usd * over if over > SHORTFALL_ROUNDING else 0.0
    )


def price_change(state: AllocationState, at: Ints, change: Floats, *, hold: bool = True) -> float:
    """Return the exact cost difference of a change of shares; inf where it breaks a constraint.

    Parameters
    ----------
    at : (n,) distinct deployments.
    change : (I, n) what is added to their shares.
    hold : whether replicas that are held active stay so at these deployments.
    """
    space = state.space
    shares = state.shares[:, at] + change
    shares[shares <= LEAST_AMOUNT] = 0.0
    change = shares - state.shares[:, at]
    if (shares[~space.allowed[:, at]] > 0).any():
        return np.inf
    unmet = state.unmet - change.sum(axis=1)
    if (unmet < -LEAST_AMOUNT).any():
        return np.inf
    unmet = np.where(unmet > LEAST_AMOUNT, unmet, 0.0)
    if ((space.excess[:, :, at] * change).sum(axis=2) > state.slack + SLACK_ROUNDING).any():
        return np.inf
    compute = state.compute[at] + (space.compute[:, at] * change).sum(axis=0)
    memory = state.memory[at] + (space.memory[:, at] * change).sum(axis=0)
    routed = (shares > 0).any(axis=0)
    before = state.replicas[at]
    after = np.where(routed, np.maximum(needed_replicas(compute, memory), 1.0), 0.0)
    if hold:
        after = np.maximum(after, state.held[at])
    if not _within_limits(state, at, before, after, float(space.token_usd @ change.sum(axis=1))):
        return np.inf
    return float(
        (space.route_usd[:, at] * change).sum()
        + (space.fleet_usd(after, at) - space.fleet_usd(before, at)).sum()
        + (shed_usd(space, unmet) - shed_usd(space, state.unmet)).sum()
    )


def _within_limits(state: AllocationState, at: Ints, before: Floats, after: Floats, token_usd: float) -> bool:
    space = state.space
    more = after - before
    if (after > np.maximum(space.cap[at], before)).any():
        return False
    spent = float((space.budgeted_usd(after, at) - space.budgeted_usd(before, at)).sum()) + token_usd
    if spent > max(state.budget_left, 0.0):
        return False
    stored = float((space.weights_gb[at] * ((after > 0).astype(float) - (before > 0))).sum())
    if stored > max(state.storage_left, 0.0):
        return False
    used = np.bincount(space.tier[at], weights=space.gpus[at] * more, minlength=len(space.available))
    if (used > np.maximum(state.gpus_left, 0.0)).any():
        return False
    opened = (before == 0) & (after > 0)
    closed = at[(before > 0) & (after == 0)]
    holder = state.config[space.pair[at[opened]]]
    free = (holder < 0) | np.isin(holder, closed)
    return bool(free.all()) and len(np.unique(space.pair[at[opened]])) == int(opened.sum())
