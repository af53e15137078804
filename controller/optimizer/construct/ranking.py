"""M2: what a candidate costs for each share that it can really serve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.state import LEAST_AMOUNT, AllocationState, needed_replicas


@dataclass(frozen=True, slots=True)
class Offer:
    """Serve ``amount`` of a type at deployment ``d``, at ``usd_per_share``."""

    d: int
    amount: float
    usd_per_share: float


def slack_amount(state: AllocationState, i: int, at: Ints | slice = slice(None)) -> Floats:
    """Return (n,) the most of type i that its error slack, and its mean-delay slack, let go to deployments ``at``."""
    excess = state.space.excess[:, i, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        amount = np.where(excess > 0, np.maximum(state.slack[:, i, None], 0.0) / excess, np.inf)
    result: Floats = amount.min(axis=0)
    return result


def affordable_replicas(state: AllocationState, at: Ints | slice = slice(None)) -> Floats:
    """Return (n,) the replicas that deployments ``at`` may come to: GPUs, budget, storage, one config per pair."""
    space = state.space
    replicas, tier = state.replicas[at], space.tier[at]
    opening = replicas == 0
    by_gpus = np.floor(state.gpus_left[tier] / space.gpus[at])
    by_budget = np.floor((state.budget_left - space.open_usd[at] * opening) / space.rent_usd[at])
    more = np.maximum(np.minimum(by_gpus, by_budget), 0.0)
    holder = state.config[space.pair[at]]
    barred = opening & ((holder >= 0) | (space.weights_gb[at] > state.storage_left))
    more[barred] = 0.0
    result: Floats = np.minimum(replicas + more, np.maximum(space.cap[at], replicas))
    return result


def best_offer(state: AllocationState, i: int, candidates: Bools, idle_weight: float) -> Offer | None:
    """Return the candidate with the least cost per effective coverage (M2), or None where no one can serve any.

    Three amounts are looked at for each candidate: what fits beside what it has, all that is left of the type,
    and what fills one replica less than that. Coverage is cut to what capacity, limits, and the error and delay
    slack allow.

    Parameters
    ----------
    candidates : (D,) who may serve it.
    idle_weight : how much of a new replica's unused part is charged to this type, 0..1: 1 where nobody else is
        expected to use it, 0 where somebody surely will.
    """
    space = state.space
    d = np.flatnonzero(candidates & space.allowed[i])
    if not len(d):
        return None
    left = float(state.unmet[i])
    a, b = space.compute[i, d], space.memory[i, d]
    replicas = state.replicas[d]
    most = np.minimum(left, slack_amount(state, i, d))
    if space.token_usd[i] > 0:
        most = np.minimum(most, max(state.budget_left, 0.0) / space.token_usd[i])
    affordable = affordable_replicas(state, d)
    compute, memory = state.compute[d], state.memory[d]
    whole = np.minimum(np.maximum(needed_replicas(compute + a * most, memory + b * most), 1.0), affordable)
    target = np.stack([replicas, whole, np.maximum(whole - 1.0, replicas)])  # (3, len(d))
    with np.errstate(divide="ignore", invalid="ignore"):
        amount = np.minimum(np.where(a > 0, (target - compute) / a, np.inf), most)
        if b.any():
            amount = np.minimum(amount, np.where(b > 0, (target - memory) / b, np.inf))
    amount[target < 1.0] = 0.0
    more = target - replicas
    usd = space.route_usd[i, d] * amount + space.more_usd(replicas, more, d)
    if idle_weight < 1.0:
        load = np.maximum(compute + a * amount, memory + b * amount)
        idle = np.minimum(more, np.maximum(target - load, 0.0))
        usd -= (1.0 - idle_weight) * space.rent_usd[d] * idle
    if space.token_usd[i] > 0 and np.isfinite(state.budget_left):  # token storage is within the budget, too
        spent = space.budgeted_usd(target, d) - space.budgeted_usd(replicas, d) + space.token_usd[i] * amount
        amount = np.where(spent <= state.budget_left, amount, 0.0)
    unit = np.full(usd.shape, np.inf)
    np.divide(usd, amount, out=unit, where=amount > LEAST_AMOUNT)
    best = int(np.argmin(unit))
    choice, at = divmod(best, len(d))
    if not np.isfinite(unit[choice, at]):
        return None
    return Offer(int(d[at]), float(amount[choice, at]), float(unit[choice, at]))
