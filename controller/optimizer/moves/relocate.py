"""Relocate: send one type's traffic from one deployment to a better one, all of it or as much as pays."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.moves.limits import Released, may_grow
from controller.optimizer.moves.move import Move, best_first
from controller.optimizer.state import LEAST_AMOUNT, AllocationState, needed_replicas


def relocations(state: AllocationState) -> list[Move]:
    """Return for each route the relocation that saves most, if one does; the best first.

    Every route is a source, every deployment, open or not, a target. Three amounts are priced for each: all of
    the route, what fits in the target's replicas as they are, and what makes one replica of the source idle.
    """
    space = state.space
    types, sources = np.nonzero(state.shares)  # the A routes
    if not len(types):
        return []
    at = sources[:, None]
    share = state.shares[types, sources][:, None]
    amounts = _amounts(state, types, sources)  # (3, A, D)
    leaves = amounts == share
    last = leaves & (state.routed[at] == 1)
    before_source = state.replicas[at]
    after_source = needed_replicas(
        state.compute[at] - amounts * space.compute[types, sources][:, None],
        state.memory[at] - amounts * space.memory[types, sources][:, None],
    )
    after_source = np.where(last, 0.0, np.clip(after_source, 1.0, before_source))
    after_source = np.maximum(after_source, state.held[at])
    before = state.replicas
    after = needed_replicas(
        state.compute + amounts * space.compute[types], state.memory + amounts * space.memory[types]
    )
    after = np.maximum(np.maximum(after, 1.0), before)
    released = Released.nothing(state, amounts.shape)
    released.add(state, at, after_source)
    possible = (amounts > LEAST_AMOUNT) & may_grow(state, after, released)
    delta = amounts * (space.route_usd[types] - space.route_usd[types, sources][:, None])
    delta += space.fleet_usd(after) - space.fleet_usd(before) - released.usd
    delta = np.where(possible, delta, np.inf)
    by_route = delta.transpose(1, 0, 2).reshape(len(types), -1)  # (A, 3 D)
    best = by_route.argmin(axis=1)
    moves = []
    for a in np.flatnonzero(by_route[np.arange(len(types)), best] < 0):
        amount, target = divmod(int(best[a]), space.num_deployments)
        change = np.zeros((space.num_types, 2))
        change[types[a]] = -amounts[amount, a, target], amounts[amount, a, target]
        moves.append(Move(np.array([sources[a], target]), change, float(by_route[a, best[a]])))
    return best_first(moves)


def _amounts(state: AllocationState, types: Ints, sources: Ints) -> Floats:
    """Return (3, A, D) how much of each route may move to each deployment; 0 where nothing may."""
    space = state.space
    share = state.shares[types, sources][:, None]
    compute, memory = space.compute[types], space.memory[types]  # (A, D)
    most = np.where(space.allowed[types], share, 0.0)
    most[np.arange(len(types)), sources] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        for excess, slack in zip(space.excess, state.slack, strict=True):
            worse = excess[types] - excess[types, sources][:, None]
            most = np.minimum(
                most, np.where(worse > 0, np.maximum(slack[types], 0.0)[:, None] / worse, np.inf)
            )
        fits = np.minimum(
            np.where(compute > 0, (state.replicas - state.compute) / compute, np.inf),
            np.where(memory > 0, (state.replicas - state.memory) / memory, np.inf),
        )
        idles = np.maximum(
            (state.compute[sources] - state.replicas[sources] + 1.0) / space.compute[types, sources],
            (state.memory[sources] - state.replicas[sources] + 1.0) / space.memory[types, sources],
        )[:, None]
    amounts = np.stack(
        [
            most,
            np.where(state.replicas > 0, np.clip(fits, 0.0, most), 0.0),
            np.where((idles > 0) & (idles <= most), idles, 0.0),
        ]
    )
    # Whoever leaves almost nothing behind leaves nothing.
    return np.where(amounts >= share - LEAST_AMOUNT, share, amounts)
