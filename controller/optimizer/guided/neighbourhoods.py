"""Which deployments a restricted MILP looks at beside those of the best plan."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.descent import Pool
from controller.optimizer.relaxation import Relaxation

_LIKELY = 12
_LEAST_SCALE = 0.002
_LEAST_EXPONENT = -25.0


def not_eliminated(relaxation: Relaxation, best_usd: float) -> Bools:
    """Return (D,) False for deployments that no plan cheaper than ``best_usd`` opens: bound + reduced cost says so."""
    if relaxation.bound_usd is None:
        return np.ones(len(relaxation.reduced_usd), dtype=bool)
    result: Bools = relaxation.bound_usd + relaxation.reduced_usd < best_usd
    return result


def by_pool(pool: Pool, live: Bools, best_usd: float, size: int, random: np.random.Generator) -> Ints:
    """Return about ``size`` deployments of sets that are estimated to be cheap, those of the cheapest most likely."""
    scores = pool.scores(len(live))
    ids = np.flatnonzero(np.isfinite(scores) & live)
    return sample(ids, scores[ids], best_usd, size, random)


def by_reduced_cost(
    relaxation: Relaxation, live: Bools, best_usd: float, size: int, random: np.random.Generator
) -> Ints:
    """Return about ``size`` deployments, those of the least reduced cost most likely."""
    ids = np.flatnonzero(live)
    return sample(ids, relaxation.reduced_usd[ids], best_usd, size, random)


def sample(ids: Ints, scores: Floats, best_usd: float, size: int, random: np.random.Generator) -> Ints:
    """Draw ``size`` of ``ids`` without replacement, likelier by ``exp(-score / scale)``.

    The scale is what sets the first dozen apart from the best one, and some of the cost at least.
    """
    if len(ids) <= size:
        return ids
    above = scores - scores.min()
    scale = max(
        float(np.partition(above, min(_LIKELY, len(above) - 1))[_LIKELY]), _LEAST_SCALE * best_usd, 1e-9
    )
    weight = np.exp(np.maximum(-above / scale, _LEAST_EXPONENT))
    return np.sort(random.choice(ids, size, replace=False, p=weight / weight.sum()))
