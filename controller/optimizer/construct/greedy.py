"""GH: one pass over the query types, in two phases (arXiv 2604.07472, greedy heuristic)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Bools, Floats
from controller.optimizer.construct.candidates import alone_usd, cheapest_configs
from controller.optimizer.construct.ranking import best_offer
from controller.optimizer.construct.upgrade import best_upgrade
from controller.optimizer.moves.move import shed_usd_of
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import LEAST_AMOUNT, AllocationState

HIGH_PRESSURE = 8.0
_BUDGET_PRESSURES = (2.0, HIGH_PRESSURE)


@dataclass(frozen=True, eq=False)
class Greedy:
    """The construction, with what it knows of an instance from the start.

    Attributes
    ----------
    candidates : (I, D) the configurations that M1 leaves.
    activation_usd : (I, D) what it costs to have one replica there that may serve a type by itself; inf where none.
    """

    space: SearchSpace
    candidates: Bools
    activation_usd: Floats

    @classmethod
    def of(cls, space: SearchSpace) -> Greedy:
        """Prepare the construction for a search space."""
        candidates = cheapest_configs(space)
        by_itself = np.isfinite(alone_usd(space)) & (space.excess <= 0).all(axis=0)
        one_usd = space.fleet_usd(np.ones(space.num_deployments)) + space.route_usd
        return cls(space, candidates, np.where(by_itself & candidates, one_usd, np.inf))

    def build(
        self, order: Sequence[int], idle_weight: float = 1.0, cover_first: bool = True
    ) -> AllocationState:
        """Build a plan from nothing.

        Where both phases are done and the budget leaves demand unserved, they are done over with budgeted dollars
        that count several times, types in the order of what they are worth for such a dollar; the best plan stands.

        Parameters
        ----------
        order : query types, in the order in which both phases serve them.
        idle_weight : see :func:`~controller.optimizer.construct.ranking.best_offer`.
        cover_first : whether the first phase is done at all.
        """
        state = self.construct(order, idle_weight, cover_first)
        if not cover_first or not np.isfinite(self.space.budget_usd) or not state.unmet.any():
            return state
        for pressure in _BUDGET_PRESSURES:
            other = thrifty(self.space, pressure, idle_weight)
            if other.keeps_limits and other.cost_usd() < state.cost_usd():
                state = other
        return state

    def construct(self, order: Sequence[int], idle_weight: float, cover_first: bool) -> AllocationState:
        """Build a plan in one pass, as dear as the space has it; parameters are those of :meth:`build`."""
        state = AllocationState(self.space)
        if cover_first:
            self._cover(state, order)
        self.fill(state, order, idle_weight)
        state.release()
        return state

    def _cover(self, state: AllocationState, order: Sequence[int]) -> None:
        """Phase 1: activate, for every type that no active deployment may serve, its cheapest feasible one."""
        for i in order:
            usd = self.activation_usd[i]
            if (np.isfinite(usd) & (state.replicas > 0)).any():
                continue
            for d in np.argsort(usd, kind="stable"):
                if usd[d] >= self._worth(state, i, 1.0):
                    break
                if _may_open(state, int(d)):
                    state.hold(int(d), 1.0)
                    break

    def fill(self, state: AllocationState, order: Sequence[int], idle_weight: float = 1.0) -> None:
        """Phase 2: serve what is unmet of each type, each time by the candidate that ranks best."""
        for i in order:
            self._serve(state, int(i), idle_weight)

    def _serve(self, state: AllocationState, i: int, idle_weight: float) -> None:
        space = state.space
        # Each round fills a deployment, ends the type, or uses up its slack: more rounds would be a defect.
        for _ in range(4 * space.num_deployments + 4):
            left = float(state.unmet[i])
            if left <= LEAST_AMOUNT or space.idle_types[i]:
                return
            offer = best_offer(state, i, self.candidates[i] | (state.replicas > 0), idle_weight)
            unit = self._worth(state, i, left)
            if offer is not None:
                unit = min(unit, offer.usd_per_share)
            upgrade = best_upgrade(state, i, self.candidates[i], unit * left)
            if upgrade is not None:
                gain = shed_usd_of(space, i, float(state.unmet[i]))
                if upgrade.delta_usd + gain < unit * left:
                    state.hold(int(upgrade.at[0]), 0.0)
                    upgrade.apply(state)
                    continue
            if offer is None or offer.usd_per_share >= self._worth(state, i, offer.amount):
                return
            state.add(i, offer.d, offer.amount)

    def _worth(self, state: AllocationState, i: int, amount: float) -> float:
        """Return the penalty that serving ``amount`` of type i saves, per whole demand."""
        unmet, space = float(state.unmet[i]), state.space
        return (shed_usd_of(space, i, unmet) - shed_usd_of(space, i, max(unmet - amount, 0.0))) / amount


def thrifty(space: SearchSpace, pressure: float = HIGH_PRESSURE, idle_weight: float = 1.0) -> AllocationState:
    """Build a plan with budgeted dollars that count ``1 + pressure`` times, types by their worth for such a dollar.

    It keeps the limits of the space under pressure, which are within rounding of this one's: ask for these.
    """
    dear = Greedy.of(under_pressure(space, pressure))
    shares = dear.construct(_by_worth(space), idle_weight, cover_first=True).shares
    return AllocationState.of_shares(space, shares)


def _by_worth(space: SearchSpace) -> list[int]:
    """Return the types by the penalty that a dollar of rent saves at most, the greatest first."""
    load = np.maximum(space.compute, space.memory)
    rent_usd = np.where(space.allowed, space.rent_usd * load, np.inf).min(axis=1, initial=np.inf)
    penalty_usd = space.unmet_usd + space.shortfall_usd * (1.0 - space.max_unmet)
    worth = np.divide(penalty_usd, rent_usd, out=np.full_like(rent_usd, np.inf), where=rent_usd > 0)
    return [int(i) for i in np.argsort(-worth, kind="stable")]


def under_pressure(space: SearchSpace, pressure: float) -> SearchSpace:
    """Return the space with each budgeted dollar counting ``1 + pressure`` times.

    Where a budget binds, a dollar of rent that one type saves is worth more than a dollar of its delay penalty.
    """
    return replace(
        space,
        rent_usd=space.rent_usd * (1.0 + pressure),
        open_usd=space.open_usd * (1.0 + pressure),
        token_usd=space.token_usd * (1.0 + pressure),
        route_usd=space.route_usd + pressure * space.token_usd[:, None],
        budget_usd=space.budget_usd * (1.0 + pressure),
    )


def _may_open(state: AllocationState, d: int) -> bool:
    space = state.space
    return bool(
        space.cap[d] >= 1
        and state.config[space.pair[d]] < 0
        and space.gpus[d] <= state.gpus_left[space.tier[d]]
        and space.rent_usd[d] + space.open_usd[d] <= state.budget_left
        and space.weights_gb[d] <= state.storage_left
    )
