"""HF: a homogeneous fleet, one GPU tier only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controller.domain.arrays import Ints
from controller.optimizer.baselines.repair import offer_fleet, offer_nothing
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState


def homogeneous(search: Search) -> None:
    """Plan on each GPU tier alone, and keep the cheapest of these plans (a baseline of arXiv 2604.07472).

    The idea's: one tier for everything. How it is filled is not: here by one pass of GH, then
    routed anew. Repair: what a tier cannot serve is shed.
    """
    offer_nothing(search)
    space = search.space
    order = next(fixed_orders(space.instance))
    for tier in np.unique(space.tier):
        if search.out_of_time():
            return
        at = np.flatnonzero(space.tier == tier)
        filled = Greedy.of(_only(space, at)).build(order)
        shares, replicas = np.zeros((space.num_types, space.num_deployments)), np.zeros(space.num_deployments)
        shares[:, at], replicas[at] = filled.shares, filled.replicas
        search.offer(AllocationState.of_shares(space, shares))
        offer_fleet(search, replicas)


def _only(space: SearchSpace, at: Ints) -> SearchSpace:
    """Return the space of the deployments ``at``."""
    by_deployment = (
        "ids",
        "rent_usd",
        "start_usd",
        "open_usd",
        "incumbent",
        "cap",
        "gpus",
        "tier",
        "tp",
        "weights_gb",
    )
    by_type = ("allowed", "route_usd", "compute", "memory")
    return replace(
        space,
        **{name: getattr(space, name)[at] for name in by_deployment},
        **{name: getattr(space, name)[:, at] for name in by_type},
        excess=space.excess[:, :, at],
        pair=np.unique(space.pair[at], return_inverse=True)[1].astype(np.int64),
    )
