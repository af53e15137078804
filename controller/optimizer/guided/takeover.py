"""What it costs that one deployment takes over what one or two members of a plan serve.

AGH's relocation and consolidation with every deployment as the target, priced but not tried: what comes of it tells
which deployments to look at, beside a plan, that the relaxation thinks little of because it can use parts of better
ones.
"""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState, needed_replicas

_MOST_IN_TWOS = 12


def takeover_usd(space: SearchSpace, state: AllocationState, prices: Prices, at: Ints) -> Floats:
    """Return (n,) by how much a plan becomes dearer where each of the deployments ``at`` (n,) takes over the best part.

    That may be all that a member serves, or two of them, or what is above one replica less; and always what nobody
    serves. Replicas are whole. Errors above an SLO have the price that the relaxation gives them; limits are left out:
    what breaks one may be looked at.
    """
    parts, saved_usd = _parts(space, state, prices)
    usd, allowed = _route_usd(space, prices, at), space.allowed[:, at]
    compute, memory = (np.where(allowed, load[:, at], 0.0) for load in (space.compute, space.memory))
    replicas = np.maximum(needed_replicas(parts @ compute, parts @ memory), 1.0)
    taken_usd = parts @ usd + space.fleet_usd(replicas, at)
    taken_usd[replicas > space.cap[at]] = np.inf
    best: Floats = (taken_usd - saved_usd[:, None]).min(axis=0)
    return best


def _parts(space: SearchSpace, state: AllocationState, prices: Prices) -> tuple[Floats, Floats]:
    """Return the parts (m, I) that can be taken over, as shares of types, and what is saved without each (m,)."""
    members, unmet = state.open, state.unmet
    shares, replicas = state.shares[:, members].T, state.replicas[members]
    serving_usd = (shares * _route_usd(space, prices, members).T).sum(axis=1)
    fleet_usd = space.fleet_usd(replicas, members)
    all_usd = serving_usd + fleet_usd
    one, other = np.triu_indices(len(members) if len(members) <= _MOST_IN_TWOS else 0, 1)
    several = np.flatnonzero(replicas > 1)
    load = np.maximum(state.compute, state.memory)[members[several]]
    above = np.maximum(load - (replicas[several] - 1.0), 0.0) / load
    less_usd = fleet_usd[several] - space.fleet_usd(replicas[several] - 1.0, members[several])
    parts = [
        np.zeros((1, space.num_types)),
        shares,
        shares[one] + shares[other],
        above[:, None] * shares[several],
    ]
    saved_usd = [np.zeros(1), all_usd, all_usd[one] + all_usd[other], above * serving_usd[several] + less_usd]
    return np.concatenate(parts) + unmet, np.concatenate(saved_usd) + float(unmet @ space.unmet_usd)


def _route_usd(space: SearchSpace, prices: Prices, at: Ints) -> Floats:
    """Return (I, n) what all of a type costs on a deployment, its errors priced; where it may not go, it is shed."""
    errors_usd = -np.einsum("qi,qin->in", prices.excess_usd, space.excess[:, :, at])
    usd: Floats = np.where(
        space.allowed[:, at], space.route_usd[:, at] + errors_usd, space.unmet_usd[:, None]
    )
    return usd
