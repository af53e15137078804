"""Serve: take up unmet demand where the best offer for it is below its penalty."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools
from controller.optimizer.construct.ranking import best_offer
from controller.optimizer.moves.move import Move, best_first, price_change
from controller.optimizer.state import AllocationState


def servings(state: AllocationState, candidates: Bools) -> list[Move]:
    """Return for each type the serving of unmet demand by the best offer, if that saves; the best first.

    Parameters
    ----------
    candidates : (I, D) who may serve whom.
    """
    space = state.space
    moves = []
    for i in np.flatnonzero((state.unmet > 0) & ~space.idle_types):
        offer = best_offer(state, int(i), candidates[i] | (state.replicas > 0), idle_weight=1.0)
        if offer is None:
            continue
        change = np.zeros((space.num_types, 1))
        change[i] = offer.amount
        at = np.array([offer.d])
        delta = price_change(state, at, change)
        if delta < 0:
            moves.append(Move(at, change, delta))
    return best_first(moves)
