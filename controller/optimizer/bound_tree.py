"""A bound tree: the relaxation, split where it is undecided about whole numbers, so that its bound rises.

Small fleets are where fractions of columns cheat most: half of each of two deployments serves what needs both. A
branch limits how many deployments of a group are open (all, those of a tier, of a model, of a pair, or a single one),
or how many replicas one has: such rows only change the price of opening and of a replica, so that pricing stays as it
is. The bound is the least of all leaves; where a leaf is whole, its program's solution is a plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats
from controller.optimizer.column_generation import ColumnGeneration, FirstPrices, Usage
from controller.optimizer.master import Branch
from controller.optimizer.pricing import Prices
from controller.optimizer.relaxation import Relaxation, nothing_opens
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_WHOLE = 1e-4
_LEAF_ROUNDS = 12


@dataclass(frozen=True, slots=True, eq=False)
class _Leaf:
    """Plans that keep ``branches`` cost at least ``usd``; those that open a deployment at least ``opened_usd`` (D,)."""

    usd: float
    opened_usd: Floats
    prices: Prices
    branches: Mapping[Branch, float]
    usage: Usage

    @property
    def may_rise(self) -> float:
        """By how much more generation may still raise ``usd``, relative to what its program costs."""
        return (self.usage.value_usd - self.usd) / abs(self.usage.value_usd) if self.usage.value_usd else 0.0


class BoundTree:
    """The relaxation of a search space, and ever more branches of it.

    Attributes
    ----------
    relaxation : as it is by now.
    plan : the cheapest plan that a leaf has come upon, if any.
    """

    def __init__(
        self,
        space: SearchSpace,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        rounds: int = 200,
        gap: float = 1e-3,
        prices: Prices | None = None,
        start: AllocationState | None = None,
    ) -> None:
        """Solve the relaxation before any branching; see :func:`~controller.optimizer.relaxation.relax`."""
        self.space = space
        self.plan: AllocationState | None = None
        self._gap = gap
        self._branches: dict[tuple[bytes, bool, bool], Branch] = {}
        self._open: list[tuple[float, int, _Leaf]] = []
        self._closed: list[_Leaf] = []
        self._count = 0
        # What branches may count: all deployments, those of a tier, of a model, of a pair, each by itself.
        model = space.instance.arrays.model[space.ids]
        each = np.arange(space.num_deployments)
        self._labels = (np.zeros_like(each), space.tier, model, space.pair, each)
        first = FirstPrices.of(space, prices)
        if not space.num_deployments:
            self.relaxation = nothing_opens(space, first.centers[0])
            return
        self._generation = ColumnGeneration(space, first.least_usd, start)
        self._root = self._solve(first.centers, {}, None, should_stop, np.inf, rounds)
        root = self._root
        self.relaxation = Relaxation.of(root.usd, root.opened_usd, root.prices, root.usage)

    def grow(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        cutoff_usd: float = np.inf,
        leaves: int = 100,
    ) -> Relaxation:
        """Split the leaf that holds the bound down, again and again; return the relaxation with the higher bound.

        Parameters
        ----------
        should_stop : asked once a round of column generation.
        cutoff_usd : a plan that is known: the bound need not be higher.
        leaves : most leaves to split.
        """
        for _ in range(leaves):
            if not self._open or self._open[0][0] >= cutoff_usd or should_stop():
                break
            leaf = heapq.heappop(self._open)[2]
            if leaf.may_rise > self._gap:
                self._solve([leaf.prices], leaf.branches, leaf, should_stop, cutoff_usd)
                continue
            split = self._undecided(leaf)
            if split is None:
                self._closed.append(leaf)
                self._meet(leaf)
                continue
            members, counts_replicas, amount = split
            for at_least, limit in ((False, np.floor(amount)), (True, np.floor(amount) + 1.0)):
                branch = self._branch(members, counts_replicas, at_least)
                branches = {**leaf.branches, branch: float(limit)}
                self._solve([leaf.prices], branches, leaf, should_stop, cutoff_usd)
        leaves_now = [*self._closed, *(leaf for _, _, leaf in self._open)]
        if leaves_now:
            usd = min(leaf.usd for leaf in leaves_now)
            opened = np.min([leaf.opened_usd for leaf in leaves_now], axis=0)
            self.relaxation = Relaxation.of(usd, opened, self._root.prices, self._root.usage)
        return self.relaxation

    def _solve(
        self,
        centers: Sequence[Prices],
        branches: Mapping[Branch, float],
        parent: _Leaf | None,
        should_stop: Callable[[], bool],
        cutoff_usd: float,
        rounds: int = _LEAF_ROUNDS,
    ) -> _Leaf:
        """Add the leaf of ``branches``; what is true of its parent is true of it."""
        bound, usage = self._generation.run(
            centers, should_stop, rounds=rounds, gap=self._gap, cutoff_usd=cutoff_usd, branches=branches
        )
        exact = self._generation.exact_bound(bound.prices, branches)
        usd, opened = exact.usd, exact.usd + exact.rise_usd
        if parent is not None:
            usd, opened = max(usd, parent.usd), np.maximum(opened, parent.opened_usd)
        leaf = _Leaf(usd, np.maximum(opened, usd), bound.prices, branches, usage)
        self._count += 1
        heapq.heappush(self._open, (leaf.usd, self._count, leaf))
        return leaf

    def _undecided(self, leaf: _Leaf) -> tuple[Bools, bool, float] | None:
        """Return of whom a branch shall limit what, and how much of it the leaf's program uses; None if it is whole.

        The count of open deployments that is farthest from whole decides most; replicas come after all of those.
        """
        usage = leaf.usage
        farthest, split = _WHOLE, None
        for labels in self._labels:
            amounts = np.bincount(labels, weights=usage.weights)
            distance = np.abs(amounts - np.rint(amounts))
            label = int(np.argmax(distance))
            if distance[label] > farthest:
                farthest, split = float(distance[label]), (labels == label, False, float(amounts[label]))
        if split is not None:
            return split
        distance = np.abs(usage.replicas - np.rint(usage.replicas))
        d = int(np.argmax(distance))
        return (self._labels[-1] == d, True, float(usage.replicas[d])) if distance[d] > _WHOLE else None

    def _branch(self, members: Bools, counts_replicas: bool, at_least: bool) -> Branch:
        """Return the one branch of its kind: the master knows it by identity."""
        key = (members.tobytes(), counts_replicas, at_least)
        return self._branches.setdefault(key, Branch(members, counts_replicas, at_least))

    def _meet(self, leaf: _Leaf) -> None:
        """Keep the plan of a whole leaf if it is the cheapest yet."""
        state = AllocationState.of_shares(self.space, leaf.usage.shares)
        cheaper = self.plan is None or state.cost_usd() < self.plan.cost_usd()
        if cheaper and state.keeps_limits and state.serves_enough:
            self.plan = state
