"""The search space: an instance as arrays over those deployments that a cheapest plan may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.domain.instance import Instance
from controller.optimizer.dominance import dominated

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """What every method works on. Sizes: I query types, D deployments kept, P (model, tier) pairs, K tiers.

    Attributes
    ----------
    ids : (D,) positions in the instance's own arrays.
    allowed : (I, D) whether a type may be routed there at all; never where its rate is zero (see ``idle_types``).
    route_usd, compute, memory : (I, D) price, and replicas taken of constraints 4 and 5, if all of type i goes there.
    excess : (Q, I, D) mean constraints that Σ excess·x <= 0 must keep: ``mean_excess`` of the instance.
    unmet_usd, max_unmet, token_usd : (I,) penalty of shedding all, ζ_i, token storage that the budget counts.
    rent_usd, start_usd : (D,) of each replica, of each replica started. ``open_usd``: stored weights, once.
    incumbent, cap : (D,) r⁰, and the most replicas that are of use or fit.
    gpus, tier, tp, pair, weights_gb : (D,) of a replica.
    available : (K,) GPUs. ``budget_usd``, ``storage_gb``: limits; inf where there is none.
    shortfall_usd : a price on unmet demand above ζ_i, of all of a type: above anything that money buys here.
    idle_types : (I,) types with a rate of zero: they cost nothing, and are routed last.
    """

    instance: Instance
    ids: Ints
    allowed: Bools
    route_usd: Floats
    compute: Floats
    memory: Floats
    excess: Floats
    unmet_usd: Floats
    max_unmet: Floats
    token_usd: Floats
    rent_usd: Floats
    start_usd: Floats
    open_usd: Floats
    incumbent: Floats
    cap: Floats
    gpus: Floats
    tier: Ints
    tp: Ints
    pair: Ints
    weights_gb: Floats
    available: Floats
    budget_usd: float
    storage_gb: float
    shortfall_usd: float
    idle_types: Bools

    @property
    def num_types(self) -> int:
        """I."""
        return len(self.unmet_usd)

    @property
    def num_deployments(self) -> int:
        """D."""
        return len(self.ids)

    @property
    def num_pairs(self) -> int:
        """P."""
        return int(self.pair.max(initial=-1)) + 1

    @cached_property
    def first_of_pair(self) -> Ints:
        """(P,) the first deployment of each pair; the configurations of a pair stand together."""
        return np.searchsorted(self.pair, np.arange(self.num_pairs))

    @cached_property
    def memory_binds(self) -> bool:
        """Whether a route takes more of memory than of compute: constraint 5 follows from 4 where none does."""
        return bool((self.allowed & (self.memory > self.compute)).any())

    @cached_property
    def limits_gpus(self) -> bool:
        """Whether GPUs of some tier are limited."""
        return bool(np.isfinite(self.available).any())

    @cached_property
    def prices_starts(self) -> bool:
        """Whether it costs anything to start a replica."""
        return bool(self.start_usd.any())

    def fleet_usd(self, replicas: Floats, at: Ints | slice = slice(None)) -> Floats:
        """Price ``replicas`` of the deployments ``at``: rent, stored weights, and starts."""
        usd: Floats = self.budgeted_usd(replicas, at) + self.start_usd[at] * np.maximum(
            replicas - self.incumbent[at], 0.0
        )
        return usd

    def more_usd(self, replicas: Floats, more: Floats, at: Ints | slice = slice(None)) -> Floats:
        """Return by how much :meth:`fleet_usd` rises where ``more`` are added to ``replicas``."""
        usd: Floats = self.rent_usd[at] * more
        usd += self.open_usd[at] * (replicas == 0) * (more > 0)
        if self.prices_starts:
            start, running = self.start_usd[at], self.incumbent[at]
            usd += start * (np.maximum(replicas + more - running, 0.0) - np.maximum(replicas - running, 0.0))
        return usd

    def budgeted_usd(self, replicas: Floats, at: Ints | slice = slice(None)) -> Floats:
        """Return that part of :meth:`fleet_usd` which the budget limits: rent and stored weights."""
        usd: Floats = self.rent_usd[at] * replicas + self.open_usd[at] * (replicas > 0)
        return usd

    @classmethod
    def of(cls, instance: Instance, keep: Ints | None = None) -> SearchSpace:
        """Build the space of an instance.

        Parameters
        ----------
        keep : positions of deployments that stay although others can replace them, because a plan has them.
        """
        arrays = instance.arrays
        budget_usd = np.inf if instance.budget_usd is None else instance.budget_usd
        storage_gb = np.inf if instance.storage_gb is None else instance.storage_gb
        idle = arrays.queries_per_s <= 0
        excess = arrays.mean_excess
        allowed = _usable(excess, arrays.fast_enough) & ~idle[:, None]

        room_usd = np.maximum(budget_usd - arrays.weights_storage_usd, 0.0)
        load = np.maximum(arrays.compute_load, arrays.memory_load)
        cap = np.maximum(np.ceil((load * allowed).sum(axis=0) - _ROUNDING), 1.0)
        cap = np.minimum(cap, arrays.replicas_cap)
        cap = np.minimum(cap, np.floor(room_usd / arrays.rent_usd + _ROUNDING))
        replaceable = dominated(arrays)
        if keep is not None:
            replaceable[keep] = False
        ids = np.flatnonzero(
            allowed.any(axis=0) & (cap >= 1) & (arrays.weights_gb <= storage_gb) & ~replaceable
        )
        # Columns are cut such that all types of a deployment stand together: most work goes by deployments.
        allowed, load = allowed[:, ids], load[:, ids]
        route_usd = arrays.route_usd[:, ids]
        rent_usd, start_usd, open_usd = (
            usd[ids] for usd in (arrays.rent_usd, arrays.start_usd, arrays.weights_storage_usd)
        )
        alone_usd = route_usd + open_usd + (rent_usd + start_usd) * (load + 1.0)
        worst_usd = (alone_usd * allowed).max(axis=1, initial=0.0).sum() + arrays.unmet_usd.sum()
        return cls(
            instance=instance,
            ids=ids,
            allowed=allowed,
            route_usd=route_usd,
            compute=arrays.compute_load[:, ids],
            memory=arrays.memory_load[:, ids],
            excess=excess[:, :, ids],
            unmet_usd=arrays.unmet_usd,
            max_unmet=np.where(idle, 1.0, arrays.max_unmet),
            token_usd=arrays.token_storage_usd,
            rent_usd=rent_usd,
            start_usd=start_usd,
            open_usd=open_usd,
            incumbent=arrays.incumbent[ids].astype(np.float64),
            cap=cap[ids],
            gpus=arrays.gpus[ids].astype(np.float64),
            tier=arrays.tier[ids],
            tp=arrays.tp[ids],
            pair=np.unique(arrays.pair[ids], return_inverse=True)[1].astype(np.int64),
            weights_gb=arrays.weights_gb[ids],
            available=arrays.available,
            budget_usd=float(budget_usd),
            storage_gb=float(storage_gb),
            shortfall_usd=10.0 * float(worst_usd) + 1.0,
            idle_types=idle,
        )


def _usable(excess: Floats, fast_enough: Bools) -> Bools:
    """Return (I, D): fast enough, and over a mean only where another deployment can make up for it."""
    below = ((excess < 0) & fast_enough).any(axis=2, keepdims=True)
    usable: Bools = fast_enough & ((excess <= 0) | below).all(axis=0)
    return usable
