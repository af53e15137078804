"""M3: give an active deployment a higher TP degree, its loaded weights reused, before a new pair is opened."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.moves.move import Move, price_change
from controller.optimizer.state import AllocationState, needed_replicas


def best_upgrade(state: AllocationState, i: int, candidates: Bools, most_usd: float = np.inf) -> Move | None:
    """Return the cheapest upgrade that lets an active (model, tier) serve all that is left of type i, or None.

    Only pairs whose present configuration may not serve the type are looked at, and only higher TP degrees. All
    that is routed there moves along, and what the first phase holds active is let go (arXiv 2604.07472, M3). The
    move's cost is for what is left of type i, too.

    Parameters
    ----------
    candidates : (D,) who may serve it.
    most_usd : what the upgrade may cost at most, the penalty that it saves not counted.
    """
    space = state.space
    source, target = _higher(state, i, candidates)
    if not len(target):
        return None
    moved = state.shares[:, source]
    moved[i] += state.unmet[i]
    fit = (space.allowed[:, target] | (moved <= 0)).all(axis=0)
    source, target, moved = source[fit], target[fit], moved[:, fit]
    usd = _upgrade_usd(state, source, target, moved)
    # All of them save the same penalty, so that the first one that keeps the limits is the cheapest.
    for n in np.argsort(usd, kind="stable"):
        if usd[n] >= most_usd:
            break
        change = np.stack([-state.shares[:, source[n]], moved[:, n]], axis=1)
        at = np.array([source[n], target[n]])
        delta = price_change(state, at, change, hold=False)
        if np.isfinite(delta):
            return Move(at, change, delta)
    return None


def _higher(state: AllocationState, i: int, candidates: Bools) -> tuple[Ints, Ints]:
    """Return (n,) active deployments that may not serve type i, and candidates of higher TP degree that may instead."""
    space, running = state.space, state.open
    if space.allowed[i, running].all():
        return running[:0], running[:0]
    target = np.flatnonzero(candidates & space.allowed[i])
    source = state.config[space.pair[target]]
    target, source = target[source >= 0], source[source >= 0]
    higher = (space.tp[target] > space.tp[source]) & ~space.allowed[i, source]
    return source[higher], target[higher]


def _upgrade_usd(state: AllocationState, source: Ints, target: Ints, moved: Floats) -> Floats:
    """Return (n,) what the upgrades change of routes and fleet; ``moved`` (I, n) are the shares that each has then."""
    space = state.space
    compute, memory = ((moved * load[:, target]).sum(axis=0) for load in (space.compute, space.memory))
    replicas = np.maximum(needed_replicas(compute, memory), 1.0)
    after = (moved * space.route_usd[:, target]).sum(axis=0) + space.fleet_usd(replicas, target)
    before = (state.shares[:, source] * space.route_usd[:, source]).sum(axis=0)
    usd: Floats = after - before - space.fleet_usd(state.replicas[source], source)
    return usd
