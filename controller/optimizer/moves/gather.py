"""Gather: send all that one or two deployments serve to a single one: another tier, model, or TP degree."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.moves.limits import Released, may_grow
from controller.optimizer.moves.move import Move, best_first
from controller.optimizer.state import SLACK_ROUNDING, AllocationState, needed_replicas


def gatherings(state: AllocationState, num_sources: int) -> list[Move]:
    """Return for each choice of ``num_sources`` deployments the gathering that saves most; the best first."""
    found = (
        _best_target(state, np.array(sources)) for sources in combinations(state.open.tolist(), num_sources)
    )
    return best_first([move for move in found if move is not None])


def _best_target(state: AllocationState, sources: Ints) -> Move | None:
    """Price every deployment as the one place for all types of ``sources`` that may go there; the others stay."""
    space = state.space
    types = np.flatnonzero(state.shares[:, sources].any(axis=1))
    shares = state.shares[np.ix_(types, sources)]  # (n, S)
    total = shares.sum(axis=1)[:, None]
    goes = space.allowed[types].copy()  # (n, D)
    for excess, slack in zip(space.excess, state.slack, strict=True):
        eased = (excess[np.ix_(types, sources)] * shares).sum(axis=1)
        goes &= excess[types] * total <= (slack[types] + eased)[:, None] + SLACK_ROUNDING
    goes[:, sources] = False
    amount = total * goes
    before = state.replicas
    after = needed_replicas(
        state.compute + (amount * space.compute[types]).sum(axis=0),
        state.memory + (amount * space.memory[types]).sum(axis=0),
    )
    after = np.maximum(np.maximum(after, 1.0), before)
    released = Released.nothing(state, before.shape)
    delta = (amount * space.route_usd[types]).sum(axis=0) + space.fleet_usd(after) - space.fleet_usd(before)
    for n, source in enumerate(sources.tolist()):
        moved = shares[:, n, None] * goes
        delta -= (moved * space.route_usd[types, source][:, None]).sum(axis=0)
        released.add(state, np.array(source), _left_at(state, source, moved, types))
    possible = goes.any(axis=0) & may_grow(state, after, released)
    delta = np.where(possible, delta - released.usd, np.inf)
    target = int(np.argmin(delta)) if len(delta) else 0
    if not len(delta) or not delta[target] < 0:
        return None
    change = np.zeros((space.num_types, len(sources) + 1))
    change[types, :-1] = -shares * goes[:, target, None]
    change[types, -1] = amount[:, target]
    return Move(np.append(sources, target), change, float(delta[target]))


def _left_at(state: AllocationState, source: int, moved: Floats, types: Ints) -> Floats:
    """Return (D,) the replicas that a source keeps when ``moved`` (n, D) leaves it for each target."""
    space = state.space
    stays = state.routed[source] - (moved > 0).sum(axis=0)
    need = needed_replicas(
        state.compute[source] - (moved * space.compute[types, source][:, None]).sum(axis=0),
        state.memory[source] - (moved * space.memory[types, source][:, None]).sum(axis=0),
    )
    kept: Floats = np.where(stays > 0, np.clip(need, 1.0, state.replicas[source]), 0.0)
    return kept
