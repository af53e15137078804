"""LPR: the linear relaxation, rounded greedily."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.baselines.repair import fit_alone, offer_fleet, offer_nothing
from controller.optimizer.highs import run_highs
from controller.optimizer.program import Program
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import needed_replicas

_LEAST = 1e-6


def relax_and_round(search: Search) -> None:
    """Round the replicas of the linear relaxation (a baseline of arXiv 2604.07472).

    The idea's: solve the model with fractional replicas; take deployments in descending fraction of their model and
    tier's GPUs, each rounded up to what its shares need, as long as the limits have room for it. Repair: a pair keeps
    its most used configuration, to which (else to what is cheapest of the rest) go the shares of the others; rounding
    down where the limits have room for fewer; and the routing of what then runs (:func:`offer_fleet`).
    """
    offer_nothing(search)
    space = search.space
    if not space.num_deployments:
        return
    program = Program.of(space, with_shortfall=True, tight=False)
    costs = program.cost_usd() + space.shortfall_usd * program.lacking()
    run = run_highs(program.highs(costs, relaxed=True), seconds=search.stop.remaining_s())
    if run.values is not None:
        replicas, shares = program.fleet_and_shares(run.values)
        kept = _kept(space, replicas)
        offer_fleet(search, _rounded(space, kept, _moved(space, shares, kept)))


def _kept(space: SearchSpace, fractional: Floats) -> Ints:
    """Return the deployments that stay, one of each pair: those with most GPUs, in descending order."""
    used = fractional * space.gpus
    order = np.argsort(-used, kind="stable")
    order = order[used[order] > _LEAST]
    return order[np.sort(np.unique(space.pair[order], return_index=True)[1])]


def _moved(space: SearchSpace, shares: Floats, kept: Ints) -> Floats:
    """Return shares (I, D) on ``kept`` only."""
    moved = np.zeros_like(shares)
    moved[:, kept] = shares[:, kept]
    of_pair = np.full(space.num_pairs, -1)
    of_pair[space.pair[kept]] = kept
    fit = fit_alone(space)
    usd = space.route_usd + np.maximum(space.compute, space.memory) * space.rent_usd
    for i, d in np.argwhere((shares > 0) & (moved == 0)):
        to = int(of_pair[space.pair[d]])
        if to < 0 or not fit[i, to]:
            others = kept[fit[i, kept]]
            if not len(others):
                continue
            to = int(others[np.argmin(usd[i, others])])
        moved[i, to] += shares[i, d]
    return moved


def _rounded(space: SearchSpace, kept: Ints, shares: Floats) -> Floats:
    """Return whole replicas (D,) for ``shares``, in the order of ``kept``, none beyond any limit."""
    replicas = np.zeros(space.num_deployments)
    needed = needed_replicas((space.compute * shares).sum(axis=0), (space.memory * shares).sum(axis=0))
    money, storage_gb, gpus = space.budget_usd, space.storage_gb, space.available.copy()
    for d in kept:
        if space.weights_gb[d] > storage_gb:
            continue
        room = min(
            (money - space.open_usd[d]) / space.rent_usd[d], gpus[space.tier[d]] / space.gpus[d], space.cap[d]
        )
        count = min(max(needed[d], 1.0), np.floor(room))
        if count < 1:
            continue
        replicas[d] = count
        money -= space.open_usd[d] + space.rent_usd[d] * count
        storage_gb -= space.weights_gb[d]
        gpus[space.tier[d]] -= space.gpus[d] * count
    return replicas
