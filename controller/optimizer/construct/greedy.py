"""GH: one pass over the query types, in two phases (arXiv 2604.07472, greedy heuristic)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats
from controller.optimizer.construct.candidates import alone_usd, cheapest_configs
from controller.optimizer.construct.ranking import best_offer
from controller.optimizer.construct.upgrade import best_upgrade
from controller.optimizer.moves.move import shed_usd
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import LEAST_AMOUNT, AllocationState


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

        Parameters
        ----------
        order : query types, in the order in which both phases serve them.
        idle_weight : see :func:`~controller.optimizer.construct.ranking.best_offer`.
        cover_first : whether the first phase is done at all.
        """
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
                gain = float(shed_usd(space, state.unmet)[i])
                if upgrade.delta_usd + gain < unit * left:
                    state.hold(int(upgrade.at[0]), 0.0)
                    upgrade.apply(state)
                    continue
            if offer is None or offer.usd_per_share >= self._worth(state, i, offer.amount):
                return
            state.add(i, offer.d, offer.amount)

    def _worth(self, state: AllocationState, i: int, amount: float) -> float:
        """Return the penalty that serving ``amount`` of type i saves, per whole demand."""
        unmet = state.unmet.copy()
        unmet[i] = max(unmet[i] - amount, 0.0)
        saved = float(shed_usd(state.space, state.unmet)[i] - shed_usd(state.space, unmet)[i])
        return saved / amount


def _may_open(state: AllocationState, d: int) -> bool:
    space = state.space
    return bool(
        space.cap[d] >= 1
        and state.config[space.pair[d]] < 0
        and space.gpus[d] <= state.gpus_left[space.tier[d]]
        and space.rent_usd[d] + space.open_usd[d] <= state.budget_left
        and space.weights_gb[d] <= state.storage_left
    )
