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
    best: Move | None = None
    for source in state.open:
        if space.allowed[i, source]:
            continue
        moved = state.shares[:, source].copy()
        moved[i] += state.unmet[i]
        targets = _higher(state, int(source), candidates & space.allowed[i], moved)
        for target in targets[_upgrade_usd(state, int(source), targets, moved) < most_usd]:
            change = np.zeros((space.num_types, 2))
            change[:, 0] = -state.shares[:, source]
            change[:, 1] = moved
            at = np.array([source, target])
            delta = price_change(state, at, change, hold=False)
            if np.isfinite(delta) and (best is None or delta < best.delta_usd):
                best = Move(at, change, delta)
    return best


def _higher(state: AllocationState, source: int, candidates: Bools, moved: Floats) -> Ints:
    """Return the pair's candidates of a higher TP degree that may serve all types that move."""
    space = state.space
    first = space.first_of_pair[space.pair[source]]
    end = np.searchsorted(space.pair, space.pair[source], side="right")
    targets = first + np.flatnonzero(candidates[first:end] & (space.tp[first:end] > space.tp[source]))
    fit: Ints = targets[space.allowed[np.ix_(moved > 0, targets)].all(axis=0)]
    return fit


def _upgrade_usd(state: AllocationState, source: int, targets: Ints, moved: Floats) -> Floats:
    """Return (n,) what the upgrades change of routes and fleet."""
    space = state.space
    if not len(targets):
        return np.zeros(0)
    replicas = needed_replicas(moved @ space.compute[:, targets], moved @ space.memory[:, targets])
    after = moved @ space.route_usd[:, targets] + space.fleet_usd(np.maximum(replicas, 1.0), targets)
    at = np.array([source])
    before = state.shares[:, source] @ space.route_usd[:, source] + space.fleet_usd(state.replicas[at], at)
    usd: Floats = after - before
    return usd
