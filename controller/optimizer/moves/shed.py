"""Shed: leave a route's demand unmet where serving it costs more than the penalty."""

from __future__ import annotations

import numpy as np

from controller.optimizer.moves.move import Move, best_first, price_change
from controller.optimizer.state import LEAST_AMOUNT, AllocationState


def sheddings(state: AllocationState) -> list[Move]:
    """Return the sheddings that save, the best first.

    Looked at are, for each route, all of it, what ``max_unmet`` still lets go, and what makes one replica idle.
    """
    space = state.space
    moves = []
    for i, d in zip(*np.nonzero(state.shares), strict=True):
        share = float(state.shares[i, d])
        amounts = {share, min(share, float(space.max_unmet[i] - state.unmet[i]))}
        if space.compute[i, d] > 0:
            amounts.add(min(share, float((state.compute[d] - state.replicas[d] + 1.0) / space.compute[i, d])))
        for amount in sorted(amounts):
            if amount <= LEAST_AMOUNT:
                continue
            change = np.zeros((space.num_types, 1))
            change[i] = -amount
            delta = price_change(state, np.array([d]), change)
            if delta < 0:
                moves.append(Move(np.array([d]), change, delta))
    return best_first(moves)
