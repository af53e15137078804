"""DVR: GPUs chosen first, routing after."""

from __future__ import annotations

import numpy as np

from controller.optimizer.baselines.repair import fit_alone, offer_fleet, offer_nothing
from controller.optimizer.search import Search

_ROUNDING = 1e-9


def provision_first(search: Search) -> None:
    """Rent GPUs for each type by itself, then route (a baseline of arXiv 2604.07472: provisioning apart from routing).

    The idea's: every type gets the deployment whose whole replicas carry all of it at the least rent, whatever the
    others do; only when all GPUs are chosen the routing is, over all of them. Types that choose the same deployment
    share its replicas; a type that none can carry whole gets none. Repair: :func:`offer_fleet`, which of two
    configurations of a model on a tier keeps the one that saves more.
    """
    offer_nothing(search)
    space = search.space
    if not space.num_deployments:
        return
    load = np.maximum(space.compute, space.memory)
    rent_usd = np.where(fit_alone(space), np.ceil(load - _ROUNDING) * space.rent_usd + space.open_usd, np.inf)
    carried = np.zeros(space.num_deployments)
    for i in np.flatnonzero(np.isfinite(rent_usd).any(axis=1)):
        d = int(np.argmin(rent_usd[i]))
        carried[d] += load[i, d]
    offer_fleet(search, np.maximum(np.ceil(carried - _ROUNDING), carried > 0))
