"""Consolidate: empty a deployment into the others and release it, or release the replica that is used least."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools
from controller.optimizer.construct.ranking import best_offer
from controller.optimizer.moves.move import Move, best_first
from controller.optimizer.state import LEAST_AMOUNT, AllocationState


def consolidations(state: AllocationState, candidates: Bools) -> list[Move]:
    """Return the consolidations that save, the best first.

    Parameters
    ----------
    candidates : (I, D) who may take over beside the deployments that run.
    """
    moves = []
    for source in state.open:
        twin = state.copy()
        empty(twin, int(source), candidates)
        if not twin.keeps_limits:
            continue
        move = Move.between(state, twin)
        if move.delta_usd < 0:
            moves.append(move)
    return best_first(moves)


def empty(state: AllocationState, source: int, candidates: Bools) -> None:
    """Take everything away from ``source`` and give it to the best offers elsewhere, the largest load first."""
    space = state.space
    types = np.flatnonzero(state.shares[:, source])
    load = np.maximum(space.compute[types, source], space.memory[types, source]) * state.shares[types, source]
    for i in types:
        state.withdraw(int(i), source)
    for i in types[np.argsort(-load, kind="stable")]:
        others = candidates[i] | (state.replicas > 0)
        others[source] = False
        serve(state, int(i), others)


def serve(state: AllocationState, i: int, candidates: Bools) -> None:
    """Serve what is unmet of type i by the best offers, as long as they cost less than the penalty."""
    for _ in range(state.space.num_deployments + 1):
        if state.unmet[i] <= LEAST_AMOUNT:
            return
        offer = best_offer(state, i, candidates, idle_weight=1.0)
        if offer is None or offer.usd_per_share >= state.unmet_price(i):
            return
        state.add(i, offer.d, offer.amount)
