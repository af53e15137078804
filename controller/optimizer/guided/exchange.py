"""The fleets that are an exchange away from one: what they cost at least, for a thousand of them at once.

An exchange takes a replica, or all replicas, of one member away, or none; and adds a replica to another member, or
opens a deployment with as many replicas as what is routed to the one would fill there, or none. These are AGH's moves
with whole replicas: relocation opens and closes, consolidation only closes.

The fleet's own routing program has prices of capacity and of mean error. At those, Lagrangian bounds of all its
neighbours are a matter of comparing the routes of its members with those of each candidate::

    Σ_i min(min_k u_ki, u_ei) - Σ_k a_k r_k - a_e r_e + rent and storage,      u = c + a w + μ excess

A bound is far too low where what was taken away overloads others, whose prices would have to rise; those of the
neighbours that it leaves get prices of their own (:mod:`~controller.optimizer.guided.ascent`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.ascent import Fleets, cheapest_first
from controller.optimizer.guided.open_set import BARRED, OpenSets

_ROUNDING = 1e-6
_CAPACITY_PRICES = (0.5, 1.0, 2.0)
_EXCESS_PRICES = (0.15, 0.5, 1.5)
_SURCHARGES = (0.0, 1.0, 4.0, 16.0, 64.0)


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A fleet of K candidates and the prices of its routing program.

    Attributes
    ----------
    members, replicas : (K,) positions in the candidates, in order; whole numbers. ``usd``: what the fleet costs.
    shares : (I, K) of its routes.
    capacity_usd, excess_usd : (K,) per replica; (Q, I) per unit of mean excess, both >= 0.
    """

    members: Ints
    replicas: Floats
    usd: float
    shares: Floats
    capacity_usd: Floats
    excess_usd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """N neighbours of a fleet of K members.

    Attributes
    ----------
    left : (N, K) replicas of the members.
    newcomer, added : (N,) a deployment that is opened, or none, and its replicas.
    usd : (N,) what they cost at least. ``surcharge``: (N,) of the prices which say so.
    """

    left: Floats
    newcomer: Ints
    added: Floats
    usd: Floats
    surcharge: Floats

    def at(self, index: Ints | Bools) -> Neighbours:
        """Return some of them."""
        return Neighbours(
            self.left[index],
            self.newcomer[index],
            self.added[index],
            self.usd[index],
            self.surcharge[index],
        )

    def rows(self, members: Ints, none: int) -> tuple[Ints, Floats]:
        """Return sets (N, K + 1) and their replicas."""
        sets = np.where(self.left > 0, members, none)
        return np.column_stack([sets, self.newcomer]), np.column_stack([self.left, self.added])


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """Prices: of capacity of the members (K,), of capacity of newcomers (G, n + 1), of mean excess (M, I)."""

    capacity_usd: Floats
    newcomer_usd: Floats
    excess_usd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    """The best bounds so far, in an array of any shape, and the surcharges that gave them."""

    usd: Floats
    surcharge: Floats

    def raise_to(self, usd: Floats, surcharge: float) -> None:
        """Take over what is higher."""
        self.surcharge[usd > self.usd] = surcharge
        np.maximum(self.usd, usd, out=self.usd)


class Exchange:
    """Finds neighbours of fleets of the candidates of ``sets``."""

    def __init__(self, sets: OpenSets) -> None:
        self._sets, self._none = sets, sets.num_candidates

    def below(self, fleet: Priced, below_usd: float, count: int) -> Iterator[Neighbours]:
        """Yield neighbours that may cost less than ``below_usd``, by ``count``, the lowest bounds first."""
        found = self._bounded(fleet, below_usd)
        if len(found.usd):
            fleets = self._fleets(fleet, found)
            for at, usd in cheapest_first(self._sets, fleets, found.usd, below_usd, count):
                yield replace(found.at(at), usd=usd)

    def _bounded(self, fleet: Priced, below_usd: float) -> Neighbours:
        """Return the neighbours that limits allow, with bounds at the fleet's own prices below ``below_usd``."""
        sets, members, none = self._sets, fleet.members, self._none
        bases, of = self._bases(fleet)
        rent = sets.cost(bases, members).sum(axis=1)
        may_join = self._may_join(members, bases, of)
        amounts = self._amounts(fleet, bases, of)
        alone = _Bounds(np.full(len(bases), -np.inf), np.zeros(len(bases)))
        joined = [_Bounds(np.full(may_join.shape, -np.inf), np.zeros(may_join.shape)) for _ in amounts]
        for surcharge in _SURCHARGES:
            point = self._point(fleet, surcharge)
            fixed = rent - bases @ point.capacity_usd
            value = np.full((len(bases), sets.space.num_types), -np.inf)
            served = np.full((len(bases), *point.newcomer_usd.shape, sets.space.num_types), -np.inf)
            for excess_usd in point.excess_usd:  # each type has its best price of excess
                unit = sets.unit_usd(excess_usd)
                own = self._least_usd(members, bases, unit, point.capacity_usd)
                np.maximum(value, own, out=value)
                theirs = unit + point.newcomer_usd[:, :, None] * sets.load
                np.maximum(served, np.minimum(own[:, None, None], theirs), out=served)
            alone.raise_to(sets.cheapest(value).sum(axis=1) + fixed, surcharge)
            routed = sets.cheapest(served).sum(axis=3) + fixed[:, None, None]  # (B, G, n + 1)
            for bound, (added, _) in zip(joined, amounts, strict=True):
                bound.raise_to((routed - point.newcomer_usd * added[:, None]).max(axis=1), surcharge)
        parts = [self._without_newcomer(fleet, bases, alone)]
        for bound, (added, is_new) in zip(joined, amounts, strict=True):
            usd = bound.usd + sets.cost(added)
            at = np.nonzero(may_join & is_new & (usd < below_usd))
            parts.append(Neighbours(bases[at[0]], at[1], added[at], usd[at], bound.surcharge[at]))
        found = _joined(parts)
        found = found.at((found.usd < below_usd) & (found.left <= sets.cap[members]).all(axis=1))
        found = found.at(~sets.barred(*found.rows(members, none)))
        return found.at(np.argsort(found.usd, kind="stable"))

    def _point(self, fleet: Priced, surcharge: float) -> _Point:
        """Return prices to bound neighbours at: the fleet's own, or higher ones, should capacity become scarce."""
        sets = self._sets
        parts = (1.0 + surcharge) * np.array(_EXCESS_PRICES)[:, None] * sets.first_excess_usd
        if surcharge == 0.0:
            return _Point(
                fleet.capacity_usd,
                np.array(_CAPACITY_PRICES)[:, None] * sets.first_capacity_usd,
                np.concatenate([sets.excess_price(fleet.excess_usd)[None], parts]),
            )
        return _Point(
            fleet.capacity_usd + surcharge * sets.high[fleet.members],
            (sets.first_capacity_usd + surcharge * sets.high)[None],
            parts,
        )

    def _least_usd(self, members: Ints, left: Floats, unit_usd: Floats, capacity_usd: Floats) -> Floats:
        """Return (N, I) the cheapest route of each type to the members of which some replicas are ``left`` (N, K)."""
        own = unit_usd[members] + capacity_usd[:, None] * self._sets.load[members]
        least: Floats = np.where((left > 0)[:, :, None], own, BARRED).min(axis=1)
        return least

    def _bases(self, fleet: Priced) -> tuple[Floats, Ints]:
        """Return (B, K) what is left of the replicas, first all of them, and (B,) which member has lost some."""
        replicas = fleet.replicas
        one = np.arange(len(replicas))
        every = one[replicas > 1]
        of = np.concatenate([[-1], one, every])
        bases = np.repeat(replicas[None], len(of), axis=0)
        bases[1 + one, one] -= 1.0
        bases[1 + len(one) + np.arange(len(every)), every] = 0.0
        return bases, of

    def _amounts(self, fleet: Priced, bases: Floats, of: Ints) -> list[tuple[Floats, Bools]]:
        """Return numbers of replicas (B, n + 1) that a newcomer may have, and whether each is one of its own.

        What it needs for what has lost its place, rounded down and rounded up, as far as limits leave room for that;
        and where limits are what keeps demand unmet, as many as there is room for.
        """
        sets = self._sets
        load = np.einsum("ni,ik->nk", sets.load, fleet.shares)  # (n + 1, K)
        gone = 1.0 - bases[np.arange(len(of)), of] / fleet.replicas[of]
        need = np.where(of[:, None] < 0, 1.0, load[:, of].T * gone[:, None])
        room = np.minimum(self._room(fleet.members, bases), sets.cap)
        wanted = [np.maximum(np.floor(need + _ROUNDING), 1.0), np.maximum(np.ceil(need - _ROUNDING), 1.0)]
        if len(sets.limit) and (fleet.shares.sum(axis=1) < 1.0 - _ROUNDING).any():
            wanted.append(room)
        amounts: list[tuple[Floats, Bools]] = []
        for number in wanted:
            added = np.minimum(number, room)
            is_new = added >= 1.0
            for other, _ in amounts:
                is_new = is_new & (added != other)
            amounts.append((added, is_new))
        return amounts

    def _room(self, members: Ints, bases: Floats) -> Floats:
        """Return (B, n + 1) how many replicas of each candidate there is room for; inf where no limit says."""
        sets = self._sets
        used = (sets.per_replica[:, members][:, None] * bases).sum(axis=2)  # (L, B)
        used += np.where(bases > 0, sets.once[:, members][:, None], 0.0).sum(axis=2)
        left = sets.limit[:, None, None] * (1.0 + 1e-9) - used[:, :, None] - sets.once[:, None]
        per_replica = np.broadcast_to(sets.per_replica[:, None], left.shape)
        room = np.full(left.shape, np.inf)
        np.divide(left, per_replica, out=room, where=per_replica > 0)
        most: Floats = np.floor(np.maximum(room.min(axis=0, initial=np.inf), 0.0) + _ROUNDING * 1e-3)
        return most

    def _may_join(self, members: Ints, bases: Floats, of: Ints) -> Bools:
        """Return (B, n + 1) whether a candidate is of another (model, tier) pair than all members that are left.

        Nor does the one that has lost its place come back.
        """
        pair = self._sets.pair
        same = pair[members][:, None] == pair  # (K, n + 1)
        joins: Bools = ~((bases > 0)[:, :, None] & same).any(axis=1)
        joins[np.arange(1, len(of)), members[of[1:]]] = False
        joins[:, -1] = False
        return joins

    def _without_newcomer(self, fleet: Priced, bases: Floats, bound: _Bounds) -> Neighbours:
        """Return the fleets of members alone: with some less, and a replica more of another one, or not.

        ``bound`` (B,) is that of the bases.
        """
        sets, members, count = self._sets, fleet.members, len(fleet.members)
        base, more = np.nonzero((bases > 0) & (bases >= fleet.replicas))
        left = bases[base]
        left[np.arange(len(base)), more] += 1.0
        rise = sets.cost(left, members).sum(axis=1) - sets.cost(bases, members).sum(axis=1)[base]
        rise -= fleet.capacity_usd[more] + bound.surcharge[base] * sets.high[members[more]]
        fewer = np.flatnonzero(bases.any(axis=1))[1:]
        left = np.concatenate([left, bases[fewer]]).reshape(-1, count)
        none = np.full(len(left), self._none)
        usd = np.append(bound.usd[base] + rise, bound.usd[fewer])
        return Neighbours(left, none, np.zeros(len(left)), usd, bound.surcharge[np.append(base, fewer)])

    def _fleets(self, fleet: Priced, found: Neighbours) -> Fleets:
        """Return the neighbours with the prices that bound them best so far."""
        sets = self._sets
        rows, replicas = found.rows(fleet.members, self._none)
        prices = np.column_stack(
            [np.where(found.left > 0, fleet.capacity_usd, 0.0), sets.first_capacity_usd[found.newcomer]]
        )
        prices += found.surcharge[:, None] * sets.high[rows]
        excess_usd = np.zeros((len(rows), sets.space.num_types))
        for surcharge in _SURCHARGES:
            at = np.flatnonzero(found.surcharge == surcharge)
            if len(at):
                excess_usd[at] = self._best_excess_prices(fleet, found.at(at), self._point(fleet, surcharge))
        return Fleets(rows, replicas, prices, excess_usd)

    def _best_excess_prices(self, fleet: Priced, found: Neighbours, point: _Point) -> Floats:
        """Return (N, I) for each neighbour those prices of mean excess, of the ones at a point, that bound it best."""
        sets = self._sets
        best = np.full((len(found.usd), sets.space.num_types), -np.inf)
        price = np.zeros_like(best)
        theirs_usd = point.newcomer_usd[len(point.newcomer_usd) // 2][:, None] * sets.load
        for excess_usd in point.excess_usd:
            unit = sets.unit_usd(excess_usd)
            own = self._least_usd(fleet.members, found.left, unit, point.capacity_usd)
            usd = np.minimum(own, (unit + theirs_usd)[found.newcomer])
            price = np.where(usd > best, excess_usd, price)
            np.maximum(best, usd, out=best)
        return price


def _joined(parts: list[Neighbours]) -> Neighbours:
    """Return all of some neighbours of one fleet."""
    return Neighbours(
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.newcomer for part in parts]),
        np.concatenate([part.added for part in parts]),
        np.concatenate([part.usd for part in parts]),
        np.concatenate([part.surcharge for part in parts]),
    )
