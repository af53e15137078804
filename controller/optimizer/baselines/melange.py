"""Mélange: bin packing of the workload onto GPU types, at the least rent (arXiv 2404.14527)."""

from __future__ import annotations

import highspy
import numpy as np
from numpy.typing import NDArray

from controller.domain.arrays import Floats, Ints
from controller.optimizer.baselines.repair import MOST_REPLICAS, fit_alone, offer_fleet, offer_nothing
from controller.optimizer.highs import run_highs
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_GAP, _NODES = 1e-3, 2_000
_DEARER = 10.0


def melange(search: Search) -> None:
    """Pack whole query types into GPUs, rent only (arXiv 2404.14527), then price what comes of it in full.

    The idea's: items are parts of the workload that are alike, bins are GPU types; the size of an item in a bin is the
    part of a GPU's throughput *within its delay objective* that it takes; an ILP puts every item into one bin and rents
    whole bins at the least cost. Delay penalties, storage and switching it does not know.

    Fitted to this problem: items are the query types, each on one route. The idea has one model and no parallelism;
    here a bin is, for each type and tier, the fit deployment that carries the type for the least rent.
    Repair: an item may stay out, at a price above all rent, where GPUs are few; and :func:`offer_fleet` where the plan
    breaks a limit that the ILP does not know.
    """
    offer_nothing(search)
    space = search.space
    items, bins = _pairs(space)
    if not len(items):
        return
    replicas, shares = _pack(space, items, bins, search)
    state = AllocationState.of_shares(space, shares)
    if state.keeps_limits:
        search.offer(state)
    else:
        offer_fleet(search, replicas)


def _pairs(space: SearchSpace) -> tuple[Ints, Ints]:
    """Return the types and deployments that may be combined: the cheapest fit one of each type and tier."""
    load = np.maximum(space.compute, space.memory)
    usd = np.where(fit_alone(space), load * space.rent_usd, np.inf)
    items, bins = [], []
    for tier in np.unique(space.tier):
        at = np.flatnonzero(space.tier == tier)
        best = at[np.argmin(usd[:, at], axis=1)]
        fit = np.flatnonzero(np.isfinite(usd[np.arange(space.num_types), best]))
        items.append(fit)
        bins.append(best[fit])
    return np.concatenate([*items, np.empty(0, np.int64)]), np.concatenate([*bins, np.empty(0, np.int64)])


def _pack(space: SearchSpace, items: Ints, bins: Ints, search: Search) -> tuple[Floats, Floats]:
    """Solve the ILP; return replicas (D,) and shares (I, D).

    Columns: y of each item in a bin, whether it stays out, w and r of each bin.
    """
    used, bin_of = np.unique(bins, return_inverse=True)
    types, item_of = np.unique(items, return_inverse=True)
    load = np.maximum(space.compute, space.memory)[items, bins]
    num, out = len(items), len(items) + np.arange(len(types))
    active, replicas = (
        num + len(types) + np.arange(len(used)),
        num + len(types) + len(used) + np.arange(len(used)),
    )
    cap = np.minimum(
        np.maximum(np.ceil(np.bincount(bin_of, load)), 1.0), np.minimum(space.cap[used], MOST_REPLICAS)
    )
    rent = space.rent_usd[used]
    model = highspy.HighsLp()
    columns = num + len(types) + 2 * len(used)
    model.num_col_ = columns
    most_usd = float(((np.ceil(load) + 1.0) * space.rent_usd[bins]).max()) * _DEARER * len(types)
    model.col_cost_ = np.concatenate(
        [np.zeros(num), np.full(len(types), most_usd), np.zeros(len(used)), rent]
    )
    model.col_lower_ = np.zeros(columns)
    model.col_upper_ = np.concatenate([np.ones(columns - len(used)), cap])
    rows: list[tuple[Ints, Floats, float, float]] = []
    for n in range(len(types)):
        mine = np.append(np.flatnonzero(item_of == n), out[n])
        rows.append((mine, np.ones(len(mine)), 1.0, 1.0))
    for b in range(len(used)):
        mine = np.flatnonzero(bin_of == b)
        rows.append((np.append(mine, replicas[b]), np.append(load[mine], -1.0), -np.inf, 0.0))
        rows.append((np.array([replicas[b], active[b]]), np.array([1.0, -cap[b]]), -np.inf, 0.0))
    for pair in np.unique(space.pair[used]):
        same = np.flatnonzero(space.pair[used] == pair)
        if len(same) > 1:
            rows.append((active[same], np.ones(len(same)), -np.inf, 1.0))
    for k in np.flatnonzero(np.isfinite(space.available)):
        mine = np.flatnonzero(space.tier[used] == k)
        rows.append((replicas[mine], space.gpus[used[mine]], -np.inf, float(space.available[k])))
    _set_rows(model, rows)
    model.integrality_ = [highspy.HighsVarType.kInteger] * columns
    run = run_highs(model, seconds=search.stop.remaining_s(), nodes=_NODES, gap=_GAP)
    fleet, shares = np.zeros(space.num_deployments), np.zeros((space.num_types, space.num_deployments))
    if run.values is not None:
        fleet[used] = np.rint(run.values[replicas])
        shares[items, bins] = np.rint(run.values[:num])
    return fleet, shares


def _set_rows(model: highspy.HighsLp, rows: list[tuple[Ints, Floats, float, float]]) -> None:
    index: NDArray[np.int64] = np.concatenate([columns for columns, *_ in rows])
    model.num_row_ = len(rows)
    model.row_lower_ = np.array([low for _, _, low, _ in rows])
    model.row_upper_ = np.array([high for *_, high in rows])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(columns) for columns, *_ in rows)]).astype(np.int32)
    model.a_matrix_.index_ = index.astype(np.int32)
    model.a_matrix_.value_ = np.concatenate([values for _, values, *_ in rows])
