"""A plan under construction: shares, and all that follows from them, kept up to date."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.space import SearchSpace

LOAD_ROUNDING = 1e-9
"""Replicas by which a load may be over a whole number; the judge allows 1e-6."""
LEAST_AMOUNT = 1e-9
"""Shares below this are rounding."""
LIMIT_ROUNDING = 1e-9
"""How far the budget may be overdrawn, relative to it; the judge allows 1e-6. GPUs and GB: ``COUNT_ROUNDING``."""
COUNT_ROUNDING = 1e-7
SHORTFALL_ROUNDING = 2e-7
"""How far unmet demand may be over max_unmet, in shares; the judge allows 1e-6."""
SLACK_ROUNDING = 1e-9
"""How far a mean of error or delay may be over its limit, in shares; the judge allows 1e-6."""


def needed_replicas(load: Floats, *others: Floats) -> Floats:
    """Return the fewest whole replicas that carry all of the loads (constraints 4 and 5)."""
    for other in others:
        load = np.maximum(load, other)
    replicas: Floats = np.maximum(np.ceil(load - LOAD_ROUNDING), 0.0)
    return replicas


class AllocationState:
    """Shares x of a search space and what they need.

    Idle replicas never pay, so ``replicas`` follows from the loads, except for those ``held`` active by the first
    phase of the construction. All limits (constraints 6 and 7) are kept as what is left of them.

    Attributes
    ----------
    shares : (I, D). ``unmet``: (I,) what is left of each type.
    compute, memory : (D,) loads in replicas. ``routed``: (D,) number of types that go there.
    replicas, held : (D,) whole numbers.
    slack : (Q, I) -Σ excess·x; below zero a mean is broken.
    config : (P,) the deployment that runs for a (model, tier) pair, or -1.
    gpus_left : (K,). ``budget_left``, ``storage_left``: $ and GB.
    """

    __slots__ = (
        "budget_left",
        "compute",
        "config",
        "gpus_left",
        "held",
        "memory",
        "replicas",
        "routed",
        "shares",
        "slack",
        "space",
        "storage_left",
        "unmet",
    )

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.shares: Floats = np.zeros((space.num_types, space.num_deployments))
        self.unmet: Floats = np.ones(space.num_types)
        self.compute: Floats = np.zeros(space.num_deployments)
        self.memory: Floats = np.zeros(space.num_deployments)
        self.routed: Ints = np.zeros(space.num_deployments, dtype=np.int64)
        self.replicas: Floats = np.zeros(space.num_deployments)
        self.held: Floats = np.zeros(space.num_deployments)
        self.slack: Floats = np.zeros(space.excess.shape[:2])
        self.config: Ints = np.full(space.num_pairs, -1, dtype=np.int64)
        self.gpus_left: Floats = space.available + COUNT_ROUNDING
        self.budget_left: float = space.budget_usd + LIMIT_ROUNDING * max(1.0, space.budget_usd)
        self.storage_left: float = space.storage_gb + COUNT_ROUNDING

    @classmethod
    def of_shares(cls, space: SearchSpace, shares: Floats) -> AllocationState:
        """Build the state of ``shares`` (I, D), whether it keeps the limits or not."""
        state = cls(space)
        state.shares = np.where(shares > LEAST_AMOUNT, shares, 0.0)
        state.refresh()
        return state

    def refresh(self) -> None:
        """Recompute everything from the shares, which takes away what rounding has left."""
        space, used = self.space, np.flatnonzero(self.shares.any(axis=0))
        shares = self.shares[:, used]
        self.unmet = np.clip(1.0 - shares.sum(axis=1), 0.0, 1.0)
        self.compute = np.zeros(space.num_deployments)
        self.compute[used] = (space.compute[:, used] * shares).sum(axis=0)
        self.memory = np.zeros(space.num_deployments)
        self.memory[used] = (space.memory[:, used] * shares).sum(axis=0)
        self.routed = np.zeros(space.num_deployments, dtype=np.int64)
        self.routed[used] = (shares > 0).sum(axis=0)
        self.slack = -(space.excess[:, :, used] * shares).sum(axis=2)
        self.replicas = np.maximum(needed_replicas(self.compute, self.memory), self.held)
        self.replicas = np.maximum(self.replicas, self.routed > 0)
        running = np.flatnonzero(self.replicas)
        self.config = np.full(space.num_pairs, -1, dtype=np.int64)
        self.config[space.pair[running]] = running
        spent = float(space.budgeted_usd(self.replicas).sum() + space.token_usd @ (1.0 - self.unmet))
        self.budget_left = space.budget_usd + LIMIT_ROUNDING * max(1.0, space.budget_usd) - spent
        self.storage_left = space.storage_gb + COUNT_ROUNDING - float(space.weights_gb[running].sum())
        used = np.bincount(space.tier, weights=space.gpus * self.replicas, minlength=len(space.available))
        self.gpus_left = space.available + COUNT_ROUNDING - used

    def copy(self) -> AllocationState:
        """Return a copy that may be changed on its own."""
        twin = AllocationState.__new__(AllocationState)
        twin.space = self.space
        for name in (
            "shares",
            "unmet",
            "compute",
            "memory",
            "routed",
            "replicas",
            "held",
            "slack",
            "config",
            "gpus_left",
        ):
            setattr(twin, name, getattr(self, name).copy())
        twin.budget_left, twin.storage_left = self.budget_left, self.storage_left
        return twin

    @property
    def open(self) -> Ints:
        """Deployments that run, in order."""
        return np.flatnonzero(self.replicas)

    @property
    def shortfall(self) -> Floats:
        """(I,) unmet demand above ζ_i."""
        over: Floats = np.maximum(self.unmet - self.space.max_unmet, 0.0)
        return np.where(over > SHORTFALL_ROUNDING, over, 0.0)

    @property
    def serves_enough(self) -> bool:
        """Whether ``max_unmet`` is kept for every type."""
        return not self.shortfall.any()

    @property
    def keeps_limits(self) -> bool:
        """Whether means, budget, storage, GPUs and one config per pair are kept."""
        one_config = len(self.open) == np.count_nonzero(self.config >= 0)
        return (
            one_config
            and bool((self.slack >= -SLACK_ROUNDING).all())
            and self.budget_left >= 0
            and self.storage_left >= 0
            and bool((self.gpus_left >= 0).all())
            and bool((self.replicas <= np.maximum(self.space.cap, 0)).all())
        )

    def unmet_price(self, i: int) -> float:
        """Return the price of shedding more of type i, per whole demand: φ N, and far more where ζ_i is reached."""
        price = float(self.space.unmet_usd[i])
        return (
            price + self.space.shortfall_usd
            if self.unmet[i] > self.space.max_unmet[i] + SHORTFALL_ROUNDING
            else price
        )

    def cost_usd(self) -> float:
        """Return the objective, and the price of what is unmet above ζ."""
        space = self.space
        return float(
            (space.route_usd * self.shares).sum()
            + space.fleet_usd(self.replicas).sum()
            + space.unmet_usd @ self.unmet
            + space.shortfall_usd * self.shortfall.sum()
        )

    def add(self, i: int, d: int, amount: float) -> None:
        """Route ``amount`` more of type i to deployment d; take it away where it is negative."""
        space = self.space
        before = self.shares[i, d]
        after = before + amount
        if after <= LEAST_AMOUNT:
            after = 0.0
        amount = after - before
        self.shares[i, d] = after
        unmet = self.unmet[i] - amount
        self.unmet[i] = unmet if unmet > LEAST_AMOUNT else 0.0
        self.slack[:, i] -= space.excess[:, i, d] * amount
        self.routed[d] += int(after > 0) - int(before > 0)
        if self.routed[d]:
            self.compute[d] += space.compute[i, d] * amount
            self.memory[d] += space.memory[i, d] * amount
        else:
            self.compute[d] = self.memory[d] = 0.0
        self.budget_left -= float(space.token_usd[i]) * amount
        self._size(d)

    def withdraw(self, i: int, d: int) -> None:
        """Take all of type i away from d, and from wherever it may not stay without that (means of constraint 3)."""
        self.add(i, d, -float(self.shares[i, d]))
        if (self.slack[:, i] < -SLACK_ROUNDING).any():
            for other in np.flatnonzero((self.shares[i] > 0) & (self.space.excess[:, i] > 0).any(axis=0)):
                self.add(i, int(other), -float(self.shares[i, other]))

    def hold(self, d: int, replicas: float) -> None:
        """Keep at least ``replicas`` of d active, whatever is routed there."""
        self.held[d] = replicas
        self._size(d)

    def release(self) -> None:
        """Hold nothing any longer: idle replicas go."""
        for d in np.flatnonzero(self.held):
            self.hold(int(d), 0.0)

    def _size(self, d: int) -> None:
        """Set the replicas of d to what it needs, and the limits to what that leaves."""
        space = self.space
        before = float(self.replicas[d])
        load = max(self.compute[d], self.memory[d])
        after = float(max(np.ceil(load - LOAD_ROUNDING), self.routed[d] > 0, self.held[d]))
        if after == before:
            return
        self.replicas[d] = after
        more = after - before
        self.gpus_left[space.tier[d]] -= space.gpus[d] * more
        self.budget_left -= float(space.rent_usd[d]) * more
        if before == 0 or after == 0:
            sign = 1.0 if before == 0 else -1.0
            self.budget_left -= sign * float(space.open_usd[d])
            self.storage_left -= sign * float(space.weights_gb[d])
            if after > 0:
                self.config[space.pair[d]] = d
            elif self.config[space.pair[d]] == d:
                self.config[space.pair[d]] = -1
