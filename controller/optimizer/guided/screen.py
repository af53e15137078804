"""A first look at all neighbours of a set at once: those that add one candidate, or put it in a member's place."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.open_set import BARRED, OpenSets

_PRICES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0])
_AT_RENT = 4


def screen(
    sets: OpenSets, members: Ints, replicas: Floats, capacity_usd: Floats, limit_usd: Floats
) -> tuple[Floats, Floats]:
    """Estimate neighbours with the prices and replicas of one set as they are; only the newcomer's are chosen.

    For the newcomer one replica and two numbers near what it would fill are tried, so that this is a bound for those
    numbers, and no bound of the set.

    Parameters
    ----------
    members, replicas, capacity_usd : (K,). ``limit_usd``: (L,).

    Returns
    -------
    usd : (K + 1, n) of the set with candidate d in place of member z; in the last row, beside all members. Inf where
        constraint 6 bars that, or d is a member.
    price : (n,) a price of capacity for each candidate to start from.
    """
    size, n = len(members), sets.num_candidates
    every = np.arange(n)
    unit = sets.route_usd[members] + capacity_usd[:, None] * sets.load[members]  # (K, I)
    own = np.where(sets.alone[members], unit, BARRED)
    types = sets.blends.types
    token_usd = sets.token_usd(limit_usd)
    price = _PRICES[:, None] * (sets.high[:n] + limit_usd @ sets.per_replica[:, :n])  # (G, n)
    offer = sets.route_usd[:n] + price[:, :, None] * sets.load[:n]  # (G, n, I)
    by_itself = np.where(sets.alone[:n], offer, BARRED)
    blending = len(types) > 0 and size > 0
    if blending:
        among = sets.blends.of(members[None]).cheapest(unit[None])[0]  # (K, K, M)
        with_candidate = sets.blends.with_candidates(members, unit, offer)  # (K, G, n, M)
    rent = limit_usd @ sets.per_replica  # (n + 1,) what limits add to a replica, and to opening
    once = limit_usd @ sets.once
    fixed = sets.cost(replicas, members) + rent[members] * replicas + once[members] - capacity_usd * replicas
    constant = float(limit_usd @ sets.limit)

    usd = np.empty((size + 1, n))
    chosen = np.zeros((size + 1, n), dtype=np.int64)
    for z in range(size + 1):
        keep = np.flatnonzero(np.arange(size) != z)
        value = own[keep].min(axis=0, initial=BARRED)
        if blending and len(keep):
            value[types] = np.minimum(value[types], among[np.ix_(keep, keep)].min(axis=(0, 1)))
        value = sets.cheapest(value + token_usd)
        with_it = np.minimum(by_itself + token_usd, value)
        if blending and len(keep):
            blended = with_candidate[keep].min(axis=0) + (token_usd[types] if len(token_usd) > 1 else 0.0)
            with_it[:, :, types] = np.minimum(with_it[:, :, types], _cheapest_at(sets, blended, types))
        total = with_it.sum(axis=2)
        taken = (sets.load[:n] * (with_it[_AT_RENT] < value)).sum(axis=1)
        best = np.full(n, np.inf)
        for count in (np.ones(n), np.floor(taken), np.ceil(taken)):
            count = np.clip(count, 1.0, sets.cap[:n])
            net = total - price * count
            highest = net.argmax(axis=0)
            with_count = net[highest, every] + sets.cost(count, every) + rent[:n] * count + once[:n]
            chosen[z] = np.where(with_count < best, highest, chosen[z])
            best = np.minimum(best, with_count)
        usd[z] = best + fixed[keep].sum()
    clash = sets.pair[:n][None, :] == sets.pair[members][:, None]  # (K, n)
    clashes = clash.sum(axis=0)
    usd[:size][clashes[None, :] > clash] = np.inf
    usd[size, clashes > 0] = np.inf
    usd[:, members] = np.inf
    return usd - constant, price[chosen[size], every]


def _cheapest_at(sets: OpenSets, value: Floats, types: Ints) -> Floats:
    """Return the price of some types where what may stay unmet does, if that is cheaper."""
    space = sets.space
    shed = space.max_unmet[types] * space.unmet_usd[types] + (1.0 - space.max_unmet[types]) * value
    usd: Floats = np.minimum(value, shed)
    return usd
