"""Whether targets may grow, given what the sources of the same move give back (constraints 6 and 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.state import AllocationState


@dataclass(slots=True, eq=False)
class Released:
    """What sources give back for each target: all arrays broadcast to the shape (..., D) of the targets.

    ``usd`` is the whole saving, starts included; ``budget_usd``, ``gpus`` (of the target's own tier), ``storage_gb``
    and ``pair`` (whether the target's pair is free after the move) are what limits count.
    """

    usd: Floats
    budget_usd: Floats
    gpus: Floats
    storage_gb: Floats
    pair: Bools

    @classmethod
    def nothing(cls, state: AllocationState, shape: tuple[int, ...]) -> Released:
        """Return what no source at all gives back: targets may open where their pair is free."""
        holder = state.config[state.space.pair]
        free = (holder < 0) | (holder == np.arange(len(holder)))
        return cls(
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape),
            np.broadcast_to(free, shape).copy(),
        )

    def add(self, state: AllocationState, source: Ints, after: Floats) -> None:
        """Count what ``source`` gives back where it comes down to ``after`` replicas (..., D).

        ``source`` holds deployments, of a shape that broadcasts against ``after``.
        """
        space = state.space
        before = state.replicas[source]
        closes = after == 0
        self.usd += space.fleet_usd(before, source) - space.fleet_usd(after, source)
        self.budget_usd += space.budgeted_usd(before, source) - space.budgeted_usd(after, source)
        self.gpus += np.where(space.tier == space.tier[source], space.gpus[source] * (before - after), 0.0)
        self.storage_gb += space.weights_gb[source] * closes
        self.pair |= closes & (state.config[space.pair] == source)


def may_grow(
    state: AllocationState, after: Floats, released: Released, token_usd: Floats | float = 0.0
) -> Bools:
    """Return (..., D) whether each target may come to ``after`` replicas.

    Parameters
    ----------
    token_usd : what the move adds to the stored tokens that the budget counts.
    """
    space = state.space
    before = state.replicas
    result: Bools = released.pair & (after <= np.maximum(space.cap, before))
    result &= space.gpus * (after - before) - released.gpus <= np.maximum(state.gpus_left, 0.0)[space.tier]
    if np.isfinite(space.budget_usd):
        spent = space.budgeted_usd(after) - space.budgeted_usd(before) + token_usd
        result &= spent - released.budget_usd <= max(state.budget_left, 0.0)
    if np.isfinite(space.storage_gb):
        stored = space.weights_gb * ((after > 0) & (before == 0))
        result &= stored - released.storage_gb <= max(state.storage_left, 0.0)
    return result
