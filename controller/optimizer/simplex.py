"""A small dense simplex method: a maximum of ``value @ x`` over ``rows @ x <= limits``, ``x >= 0``.

For the routing of a plan with fixed replicas, which is a linear program of some dozens of rows. Every limit is at
least zero there, so that x = 0 is where it starts from, and each step along the way is feasible, too.
"""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats

_PIVOT = 1e-9
_GAIN = 1e-10
_STALLED = 20


def maximize(value: Floats, rows: Floats, limits: Floats, max_steps: int | None = None) -> Floats:
    """Return x (n,), optimal unless ``max_steps`` ends it before; feasible in any case.

    Dantzig's rule picks the column; where steps make no progress Bland's rule does, which cannot cycle.

    Parameters
    ----------
    value : (n,). rows : (m, n). limits : (m,), all >= 0.
    """
    if (limits < 0).any():
        raise ValueError(f"limits must be at least 0, got {limits.min()!r}")
    m, n = rows.shape
    row_scale = _scale(np.abs(rows).max(axis=1, initial=0.0))
    column_scale = _scale((np.abs(rows) * row_scale[:, None]).max(axis=0, initial=0.0))
    value_scale = float(_scale(np.abs(value * column_scale).max(initial=0.0, keepdims=True))[0])
    table = np.zeros((m + 1, n + m + 1))
    table[:m, :n] = rows * row_scale[:, None] * column_scale
    table[:m, n : n + m] = np.eye(m)
    table[:m, -1] = limits * row_scale
    table[m, :n] = value * column_scale * value_scale
    basis = np.arange(n, n + m)
    stalled = 0
    for _ in range(50 * (m + n) if max_steps is None else max_steps):
        gains = table[m, :-1]
        entering = int(np.argmax(gains)) if stalled < _STALLED else int(np.argmax(gains > _GAIN))
        if gains[entering] <= _GAIN:
            break
        column = table[:m, entering]
        candidates = np.flatnonzero(column > _PIVOT)
        if not len(candidates):
            break  # unbounded: no routing is, as demand is limited
        ratios = table[candidates, -1] / column[candidates]
        least = ratios.min()
        tied = candidates[ratios <= least + _PIVOT]
        leaving = int(tied[np.argmax(column[tied])] if stalled < _STALLED else tied[np.argmin(basis[tied])])
        stalled = stalled + 1 if least <= _PIVOT else 0
        table[leaving] /= table[leaving, entering]
        factors = table[:, entering].copy()
        factors[leaving] = 0.0
        table -= np.outer(factors, table[leaving])
        table[:m, -1] = np.maximum(table[:m, -1], 0.0)
        basis[leaving] = entering
    x = np.zeros(n + m)
    x[basis] = table[:m, -1]
    result: Floats = x[:n] * column_scale
    return result


def _scale(size: Floats) -> Floats:
    """Return 1 / size, and 1 where there is no size."""
    scale: Floats = 1.0 / np.where(size > 0, size, 1.0)
    return scale
