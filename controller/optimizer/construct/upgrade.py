"""M3: give an active deployment a higher TP degree, its loaded weights reused, before a new pair is opened."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools
from controller.optimizer.moves.move import Move, price_change
from controller.optimizer.state import AllocationState


def best_upgrade(state: AllocationState, i: int, candidates: Bools) -> Move | None:
    """Return the cheapest upgrade that lets an active (model, tier) serve all that is left of type i, or None.

    Only pairs whose present configuration may not serve the type are looked at, and only higher TP degrees. All
    that is routed there moves along, and what the first phase holds active is let go (arXiv 2604.07472, M3). The
    move's cost is for what is left of type i, too.
    """
    space = state.space
    best: Move | None = None
    for source in state.open:
        if space.allowed[i, source]:
            continue
        higher = (space.pair == space.pair[source]) & (space.tp > space.tp[source])
        for target in np.flatnonzero(higher & candidates & space.allowed[i]):
            change = np.zeros((space.num_types, 2))
            change[:, 0] = -state.shares[:, source]
            change[:, 1] = state.shares[:, source]
            change[i, 1] += state.unmet[i]
            at = np.array([source, target])
            delta = price_change(state, at, change, hold=False)
            if np.isfinite(delta) and (best is None or delta < best.delta_usd):
                best = Move(at, change, delta)
    return best
