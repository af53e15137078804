"""What one solve leaves for the next: prices, the plan, and which deployments were open at which demand.

A small value that the caller keeps from horizon to horizon and hands back; it holds names, not positions, so that the
next instance may have other types, models or tiers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from controller.domain.arrays import Ints
from controller.domain.entities import DeploymentKey
from controller.domain.instance import Instance
from controller.domain.plan import Plan, incumbent_of, read_plan
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace

_MOST_SETS = 24


class Fingerprint(NamedTuple):
    """Digests of what an instance asks for: of its demand, and of all else but its name and what runs in it."""

    fleet: str
    demand: str


@dataclass(frozen=True, slots=True)
class PastSet:
    """The deployments that were open at one demand: arrival rates in 1/s by query type."""

    rates_per_s: Mapping[str, float]
    deployments: frozenset[DeploymentKey]


@dataclass(frozen=True, slots=True)
class PastPrices:
    """Duals of a relaxation, by name, with what they are in proportion to.

    Attributes
    ----------
    queries : N_i by query type. ``horizon_h``: hours.
    demand_usd : by query type. ``excess_usd``: by query type, for each mean constraint.
    budget, storage_usd_per_gb : as in :class:`~controller.optimizer.pricing.Prices`. ``gpu_usd``: by tier.
    """

    queries: Mapping[str, float]
    horizon_h: float
    demand_usd: Mapping[str, float]
    excess_usd: Mapping[str, tuple[float, ...]]
    budget: float
    storage_usd_per_gb: float
    gpu_usd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SolverMemory:
    """What is known from solves before.

    Attributes
    ----------
    fingerprint : of the last instance.
    plan : the last plan.
    gap_usd : what that plan costs beyond a lower bound; None where there is no bound.
    prices : of the last relaxation; None where there was none.
    sets : the newest last; a set stands once, at the demand that it was last best for.
    """

    fingerprint: Fingerprint
    plan: Plan
    gap_usd: float | None = None
    prices: PastPrices | None = None
    sets: tuple[PastSet, ...] = ()

    @classmethod
    def after(
        cls,
        instance: Instance,
        plan: Plan,
        gap_usd: float | None,
        prices: Prices | None,
        before: SolverMemory | None,
    ) -> SolverMemory:
        """Return what to remember of a solve, and of those before it."""
        rates = {item.name: item.arrival_rate_per_s for item in instance.query_types}
        newest = PastSet(rates, frozenset(key for key, replicas in plan.replicas.items() if replicas > 0))
        older = () if before is None else before.sets
        kept = tuple(past for past in older if past.deployments != newest.deployments)
        named = None if before is None else before.prices
        if prices is not None:
            named = _named(instance, prices)
        return cls(fingerprint(instance), plan, gap_usd, named, (*kept, newest)[-_MOST_SETS:])

    def settles(self, instance: Instance, initial: Plan) -> bool:
        """Return whether nothing has changed since the last plan was found, and it is the one that runs.

        Its cost is then still within ``gap_usd`` of a lower bound: whatever another plan saves by starting from this
        one instead of what ran before, to start this one had cost at least as much.
        """
        runs = instance.switching is None or instance.incumbent == incumbent_of(initial)
        return runs and initial == self.plan and fingerprint(instance) == self.fingerprint

    def is_of_fleet(self, instance: Instance) -> bool:
        """Return whether the last instance was like this one but for its demand, its name and what runs in it."""
        return fingerprint(instance).fleet == self.fingerprint.fleet

    def prices_for(self, space: SearchSpace) -> Prices | None:
        """Return the last prices for a new demand: what belongs to a type is in proportion to its queries."""
        past, instance = self.prices, space.instance
        if past is None:
            return None
        types = [item.name for item in instance.query_types]
        means = len(space.excess)
        nothing = (np.nan,) * means
        excess = [past.excess_usd.get(name, nothing) for name in types]
        if any(len(row) != means for row in excess):
            return None
        ratio = np.array(
            [
                queries / past.queries[name] if past.queries.get(name, 0.0) > 0 else np.nan
                for name, queries in zip(types, instance.arrays.queries.tolist(), strict=True)
            ]
        )
        longer = instance.horizon_h / past.horizon_h
        known = Prices(
            demand_usd=np.array([past.demand_usd.get(name, np.nan) for name in types]),
            excess_usd=np.array(excess).T,
            budget=past.budget,
            storage_usd_per_gb=past.storage_usd_per_gb * longer,
            gpu_usd=np.array([past.gpu_usd.get(tier.name, 0.0) * longer for tier in instance.gpu_tiers]),
            pair_usd=np.zeros(space.num_pairs),
        )
        return known.rescaled(ratio)

    def nearest_sets(self, space: SearchSpace, count: int) -> list[Ints]:
        """Return up to ``count`` past sets, as positions in a search space, those of the nearest demand first."""
        instance = space.instance
        rates = {item.name: item.arrival_rate_per_s for item in instance.query_types}

        def distance(past: PastSet) -> float:
            # Not a set, whose order differs from process to process, and with it the last digit of a sum.
            names = dict.fromkeys((*rates, *past.rates_per_s))
            pairs = [(rates.get(name, 0.0), past.rates_per_s.get(name, 0.0)) for name in names]
            return sum(abs(now - then) / max(now, then) for now, then in pairs if max(now, then) > 0)

        place = {int(d): n for n, d in enumerate(space.ids)}
        newest_first, found = self.sets[::-1], []
        for past in sorted(newest_first, key=distance):
            ids = (instance.arrays.position.get(key, -1) for key in past.deployments)
            at = sorted(place[d] for d in ids if d in place)
            if at:
                found.append(np.array(at, dtype=np.int64))
        return found[:count]

    def to_json(self) -> dict[str, Any]:
        """Return plain data that :meth:`of_json` reads."""
        prices = self.prices
        return {
            "fingerprint": self.fingerprint,
            "plan": self.plan.to_json(),
            "gap_usd": self.gap_usd,
            "prices": None
            if prices is None
            else {
                "queries": dict(prices.queries),
                "horizon_h": prices.horizon_h,
                "demand_usd": dict(prices.demand_usd),
                "excess_usd": {name: list(row) for name, row in prices.excess_usd.items()},
                "budget": prices.budget,
                "storage_usd_per_gb": prices.storage_usd_per_gb,
                "gpu_usd": dict(prices.gpu_usd),
            },
            "sets": [
                {"rates_per_s": dict(past.rates_per_s), "deployments": sorted(past.deployments)}
                for past in self.sets
            ],
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> SolverMemory:
        """Build a memory from what :meth:`to_json` has returned."""
        prices = data["prices"]
        if prices is not None:
            excess = {name: tuple(row) for name, row in prices["excess_usd"].items()}
            prices = PastPrices(**{**prices, "excess_usd": excess})
        sets = tuple(
            PastSet(past["rates_per_s"], frozenset(DeploymentKey(*key) for key in past["deployments"]))
            for past in data["sets"]
        )
        return cls(Fingerprint(*data["fingerprint"]), read_plan(data["plan"]), data["gap_usd"], prices, sets)


def fingerprint(instance: Instance) -> Fingerprint:
    """Return what tells whether an instance asks for the same as another."""
    fleet = (
        instance.horizon_h,
        tuple(
            replace(item, arrival_rate_per_s=0.0, input_tokens=0.0, output_tokens=0.0)
            for item in instance.query_types
        ),
        instance.models,
        instance.gpu_tiers,
        instance.budget_usd,
        instance.storage_gb,
        instance.storage_usd_per_gb_h,
        instance.delay_slo,
        instance.profiles,
        instance.switching,
    )
    demand = [
        (float(item.arrival_rate_per_s), float(item.input_tokens), float(item.output_tokens))
        for item in instance.query_types
    ]
    return Fingerprint(_digest(fleet), _digest(demand))


def _digest(parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _named(instance: Instance, prices: Prices) -> PastPrices:
    types = [item.name for item in instance.query_types]
    return PastPrices(
        queries=dict(zip(types, instance.arrays.queries.tolist(), strict=True)),
        horizon_h=instance.horizon_h,
        demand_usd=dict(zip(types, prices.demand_usd.tolist(), strict=True)),
        excess_usd=dict(zip(types, map(tuple, prices.excess_usd.T.tolist()), strict=True)),
        budget=float(prices.budget),
        storage_usd_per_gb=float(prices.storage_usd_per_gb),
        gpu_usd=dict(zip((tier.name for tier in instance.gpu_tiers), prices.gpu_usd.tolist(), strict=True)),
    )
