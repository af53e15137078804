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
    excess = state.space.excess[:, i][:, at]
    slack = np.maximum(state.slack[:, i, None], 0.0)
    amount = np.divide(slack, excess, out=np.full(excess.shape, np.inf), where=excess > 0)
    result: Floats = amount.min(axis=0)
    return result


def affordable_replicas(state: AllocationState, at: Ints | slice = slice(None)) -> Floats:
    """Return (n,) the replicas that deployments ``at`` may come to: GPUs, budget, storage, one config per pair."""
    space = state.space
    replicas = state.replicas[at]
    opening = replicas == 0
    most = np.maximum(space.cap[at], replicas)
    barred = state.config[space.pair[at]] >= 0
    if space.limits_gpus:
        most = np.minimum(most, replicas + _whole(state.gpus_left[space.tier[at]] / space.gpus[at]))
    if np.isfinite(space.budget_usd):
        left = state.budget_left - space.open_usd[at] * opening
        most = np.minimum(most, replicas + _whole(left / space.rent_usd[at]))
    if np.isfinite(space.storage_gb):
        barred |= space.weights_gb[at] > state.storage_left
    result: Floats = np.where(opening & barred, 0.0, most)
    return result


def _whole(number: Floats) -> Floats:
    whole: Floats = np.maximum(np.floor(number), 0.0)
    return whole


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
    most = np.minimum(float(state.unmet[i]), slack_amount(state, i, d))
    token_usd = float(space.token_usd[i])
    if token_usd > 0:
        most = np.minimum(most, max(state.budget_left, 0.0) / token_usd)
    replicas, loads = state.replicas[d], [(space.compute[i][d], state.compute[d])]
    if space.memory_binds:
        loads.append((space.memory[i][d], state.memory[d]))
    whole = np.maximum(needed_replicas(*(load + use * most for use, load in loads)), 1.0)
    whole = np.minimum(whole, affordable_replicas(state, d))
    target = np.stack([replicas, whole, np.maximum(whole - 1.0, replicas)])  # (3, len(d))
    amount = most * (target >= 1.0)
    for use, load in loads:
        room = np.maximum(target - load, 0.0)
        amount = np.minimum(amount, np.divide(room, use, out=np.full(room.shape, np.inf), where=use > 0))
    more = target - replicas
    usd = space.route_usd[i][d] * amount + space.more_usd(replicas, more, d)
    if idle_weight < 1.0:
        idle = target - np.max([load + use * amount for use, load in loads], axis=0)
        usd -= (1.0 - idle_weight) * space.rent_usd[d] * np.minimum(more, np.maximum(idle, 0.0))
    if token_usd > 0 and np.isfinite(state.budget_left):  # token storage is within the budget, too
        spent = space.budgeted_usd(target, d) - space.budgeted_usd(replicas, d) + token_usd * amount
        amount = np.where(spent <= state.budget_left, amount, 0.0)
    unit = np.full(usd.shape, np.inf)
    np.divide(usd, amount, out=unit, where=amount > LEAST_AMOUNT)
    best = int(np.argmin(unit))
    choice, at = divmod(best, len(d))
    if not np.isfinite(unit[choice, at]):
        return None
    return Offer(int(d[at]), float(amount[choice, at]), float(unit[choice, at]))
