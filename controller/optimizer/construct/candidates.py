"""M1: for each query type and each model on a tier, only the cheapest configuration that is fit for it."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats
from controller.optimizer.space import SearchSpace


def alone_usd(space: SearchSpace) -> Floats:
    """Return (I, D) the price of serving all of a type there and nothing else; inf where it may not go."""
    replicas = np.maximum(np.ceil(np.maximum(space.compute, space.memory)), 1.0)
    usd = space.route_usd + replicas * (space.rent_usd + space.start_usd) + space.open_usd
    return np.where(space.allowed, usd, np.inf)


def cheapest_configs(space: SearchSpace) -> Bools:
    """Return (I, D) True for the one configuration of each (type, model, tier) that may be a candidate (M1).

    A configuration is fit where its weights fit in memory, which every deployment of the space does, and where
    it is fast enough for the type; none is a candidate where none is fit (arXiv 2604.07472, M1).
    """
    usd, first = alone_usd(space), space.first_of_pair
    if not usd.size:
        return np.zeros(usd.shape, dtype=bool)
    cheapest = np.minimum.reduceat(usd, first, axis=1)[:, space.pair]
    is_cheapest = np.isfinite(usd) & (usd <= cheapest)
    # Of equally cheap configurations the first one stands.
    before = is_cheapest.cumsum(axis=1) - is_cheapest
    result: Bools = is_cheapest & (before == before[:, first][:, space.pair])
    return result
