"""What makes a fleet of a baseline a plan: cut to the limits, routed as well as it can be, the rest shed."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats
from controller.optimizer.routing import route
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.within_limits import within_limits

MOST_REPLICAS = 1e9


def offer_fleet(search: Search, replicas: Floats) -> None:
    """Offer the search the plan that ``replicas`` (D,) of its space make.

    Those that no limit has room for go, in ascending worth; shares are the cheapest that the rest can carry (the
    routing LP); replicas that get no traffic are not rented. All of that is kinder than what the baselines publish.
    """
    space = search.space
    fleet = np.zeros(space.instance.arrays.num_deployments, dtype=np.int64)
    fleet[space.ids] = np.minimum(replicas, MOST_REPLICAS).astype(np.int64)
    kept = within_limits(space.instance, fleet)
    shares: Floats = np.where(space.allowed, route(space.instance, kept)[:, space.ids], 0.0)
    search.offer(AllocationState.of_shares(space, shares))


def offer_nothing(search: Search) -> None:
    """Offer to shed everything: what remains where nothing else is found in time."""
    search.offer(AllocationState(search.space))


def fit_alone(space: SearchSpace) -> Bools:
    """Return (I, D): which deployments keep a type's objectives by themselves, without a mean to make up for them."""
    fit: Bools = space.allowed & (space.excess <= 0).all(axis=0) & (space.cap >= 1)
    return fit
