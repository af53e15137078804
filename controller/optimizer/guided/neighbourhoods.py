"""Which deployments a restricted MILP looks at beside those of the best plan."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.relaxation import Relaxation

_LEAST_WEIGHT = 1e-9
_SET_SCALE, _SET_DELAY = 3, 4


def not_eliminated(relaxation: Relaxation, best_usd: float) -> Bools:
    """Return (D,) False for deployments that no plan cheaper than ``best_usd`` opens.

    Bound and reduced cost say so (docs/mathematics.md, "Elimination").
    """
    if relaxation.bound_usd is None:
        return np.ones(len(relaxation.reduced_usd), dtype=bool)
    result: Bools = relaxation.bound_usd + relaxation.reduced_usd < best_usd
    return result


def by_promise(relaxation: Relaxation, set_usd: Floats, live: Bools) -> Ints:
    """Return the deployments that are not eliminated, the most promising ones first.

    Two rankings are merged: by reduced cost, and by ``set_usd`` (D,), the estimate of the cheapest set that has each
    one (inf for none). Either is right about some deployments that the other is wrong about, the first about more.
    """
    count = len(live)
    by_price = np.empty(count, dtype=np.int64)
    by_price[np.argsort(relaxation.reduced_usd, kind="stable")] = np.arange(count)
    met = np.flatnonzero(np.isfinite(set_usd))
    by_set = np.full(count, count)
    by_set[met[np.argsort(set_usd[met], kind="stable")]] = np.arange(len(met))
    order = np.lexsort((by_price, np.minimum(by_price, _SET_SCALE * by_set + _SET_DELAY)))
    return order[live[order]]


def draw(order: Ints, size: int, random: np.random.Generator) -> Ints:
    """Draw ``size`` deployments without replacement, likelier the earlier they stand in ``order``."""
    if len(order) <= size:
        return order
    weight = np.maximum(np.exp(-np.arange(len(order)) / size), _LEAST_WEIGHT)
    return random.choice(order, size, replace=False, p=weight / weight.sum())
