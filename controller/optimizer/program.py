"""The model of :mod:`controller.optimizer.model` in arrays, ready for HiGHS: the same variables, the same rows.

PuLP makes an object of every term, which takes a second at 20 types, models and tiers; this takes a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import highspy
import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.rows import Constraints, Rows
from controller.optimizer.space import SearchSpace

_MOST_REPLICAS = 1e9
_NOTHING = np.empty(0)
_NO_ROWS = Constraints(_NOTHING, _NOTHING, np.zeros(1, np.int64), np.empty(0, np.int64), _NOTHING)


@dataclass(frozen=True, eq=False)
class Program:
    """A mixed-integer program over n columns and m rows, in the order of its parts.

    Attributes
    ----------
    replicas, active : (D,) columns of r and w, the same one where a deployment has room for one replica only.
    share_type, share_at : (X,) type and deployment of each share x; its column is ``first_share`` plus its position.
    unmet, shortfall : (I,) columns of u and of what is unmet above ζ; -1 where there is none.
    started : (D,) columns of s, or -1.
    upper, whole : (n,) upper bounds (lower ones are 0), and which columns are whole numbers.
    constraints : the rows.
    """

    space: SearchSpace
    replicas: Ints
    active: Ints
    first_share: int
    share_type: Ints
    share_at: Ints
    unmet: Ints
    shortfall: Ints
    started: Ints
    upper: Floats
    whole: Bools
    constraints: Constraints

    @property
    def num_columns(self) -> int:
        """The count n of columns."""
        return len(self.upper)

    @classmethod
    def of(cls, space: SearchSpace, *, with_shortfall: bool = False, tight: bool = True) -> Program:
        """Build the program of a search space.

        Parameters
        ----------
        with_shortfall : let demand above ``max_unmet`` be unmet too, for an objective that asks how much must be.
        tight : with the rows x <= w, which only the linear relaxation needs.
        """
        d_all = np.arange(space.num_deployments)
        cap = np.where(np.isfinite(space.cap), space.cap, _MOST_REPLICAS)
        several = np.flatnonzero(cap != 1)
        active = d_all.copy()
        active[several] = space.num_deployments + np.arange(len(several))
        first_share = space.num_deployments + len(several)
        share_at, share_type = np.nonzero(space.allowed.T)
        next_column = first_share + len(share_at)
        busy = np.flatnonzero(~space.idle_types)
        unmet, next_column = _columns(space.num_types, busy, next_column)
        lacking, next_column = _columns(space.num_types, busy if with_shortfall else busy[:0], next_column)
        started, next_column = _columns(
            space.num_deployments, np.flatnonzero(space.start_usd > 0), next_column
        )
        upper = np.ones(next_column)
        upper[d_all] = cap
        upper[unmet[busy]] = space.max_unmet[busy]
        upper[started[started >= 0]] = np.inf
        whole = np.zeros(next_column, dtype=bool)
        whole[:first_share] = True
        rows = Rows()
        program = cls(
            space, d_all, active, first_share, share_type, share_at, unmet, lacking, started, upper, whole,
            _NO_ROWS,
        )  # fmt: skip
        program._add_demand(rows, busy)
        program._add_capacity(rows, cap, tight)
        program._add_limits(rows)
        return replace(program, constraints=rows.joined())

    def _add_demand(self, rows: Rows, busy: Ints) -> None:
        """Add constraints 1, 2 where the delay SLO is a mean, and 3."""
        space, position = self.space, np.full(self.space.num_types, -1)
        position[busy] = np.arange(len(busy))
        shares = self.first_share + np.arange(len(self.share_at))
        columns, of_row = [shares, self.unmet[busy]], [position[self.share_type], np.arange(len(busy))]
        if (self.shortfall >= 0).any():
            columns.append(self.shortfall[busy])
            of_row.append(np.arange(len(busy)))
        columns_of, rows_of = np.concatenate(columns), np.concatenate(of_row)
        rows.add(rows_of, columns_of, np.ones(len(columns_of)), np.ones(len(busy)), np.ones(len(busy)))
        for excess in space.excess:
            over = excess[self.share_type, self.share_at]
            binding = np.zeros(space.num_types, dtype=bool)
            binding[self.share_type[over > 0]] = True
            rows.add_some(np.flatnonzero(binding), self.share_type, shares, over, 0.0)

    def _add_capacity(self, rows: Rows, cap: Floats, tight: bool) -> None:
        """Add constraints 4 and 5, what ties w to r and to x, and the starts."""
        space = self.space
        shares = self.first_share + np.arange(len(self.share_at))
        compute = space.compute[self.share_type, self.share_at]
        memory = space.memory[self.share_type, self.share_at]
        size = space.num_deployments
        used = np.bincount(self.share_at, weights=compute, minlength=size) > 0
        over = np.zeros(size, dtype=bool)
        over[self.share_at[memory > compute]] = True
        for load, needed in ((compute, used), (memory, over)):
            at = np.flatnonzero(needed)
            columns, owners = (
                np.concatenate([shares, self.replicas]),
                np.concatenate([self.share_at, self.replicas]),
            )
            rows.add_some(at, owners, columns, np.concatenate([load, -np.ones(size)]), 0.0)
        several = np.flatnonzero(self.active != self.replicas)
        rows.add_pairs(self.replicas[several], self.active[several], -cap[several])
        if tight:
            rows.add_pairs(shares, self.active[self.share_at], -1.0)
        nothing: Bools = np.asarray(
            np.any(space.allowed & (space.compute <= 0) & (space.memory <= 0), axis=0)
        )
        free = several[nothing[several]]
        rows.add_pairs(self.active[free], self.replicas[free], -1.0)
        begun = np.flatnonzero(self.started >= 0)
        rows.add_pairs(self.replicas[begun], self.started[begun], -1.0, space.incumbent[begun])

    def _add_limits(self, rows: Rows) -> None:
        """Add constraints 6 and 7."""
        space = self.space
        counts = np.bincount(space.pair, minlength=space.num_pairs)
        rows.add_some(np.flatnonzero(counts > 1), space.pair, self.active, np.ones(len(self.active)), 1.0)
        if np.isfinite(space.budget_usd):
            rows.add_one(self.spend_usd(), space.budget_usd)
        if np.isfinite(space.storage_gb):
            rows.add_one(self.stored_gb(), space.storage_gb)
        for k in np.flatnonzero(np.isfinite(space.available)):
            rows.add_one(self.gpus_of(int(k)), float(space.available[k]))

    def cost_usd(self) -> Floats:
        """Return (n,) the objective of docs/mathematics.md."""
        space = self.space
        costs = self.spend_usd()
        costs[self.first_share : self.first_share + len(self.share_at)] = space.route_usd[
            self.share_type, self.share_at
        ]
        busy = self.unmet >= 0
        costs[self.unmet[busy]] = space.unmet_usd[busy]
        begun = self.started >= 0
        costs[self.started[begun]] = space.start_usd[begun]
        return costs

    def spend_usd(self) -> Floats:
        """Return (n,) what the budget counts: rental, stored weights, stored tokens."""
        costs = np.zeros(self.num_columns)
        np.add.at(costs, self.replicas, self.space.rent_usd)
        np.add.at(costs, self.active, self.space.open_usd)
        costs[self.first_share : self.first_share + len(self.share_at)] = self.space.token_usd[
            self.share_type
        ]
        return costs

    def stored_gb(self) -> Floats:
        """Return (n,) what the storage limit counts."""
        return self._of_columns(self.active, self.space.weights_gb)

    def gpus_of(self, tier: int) -> Floats:
        """Return (n,) the GPUs of a tier."""
        return self._of_columns(self.replicas, np.where(self.space.tier == tier, self.space.gpus, 0.0))

    def unmet_of(self, types: Ints) -> Floats:
        """Return (n,) the unmet shares of ``types``, with all that is above ζ."""
        weights = np.zeros(self.num_columns)
        for columns in (self.unmet[types], self.shortfall[types]):
            weights[columns[columns >= 0]] = 1.0
        return weights

    def lacking(self) -> Floats:
        """Return (n,) what is unmet above ζ, of all types."""
        weights = np.zeros(self.num_columns)
        weights[self.shortfall[self.shortfall >= 0]] = 1.0
        return weights

    def _of_columns(self, columns: Ints, weights: Floats) -> Floats:
        result = np.zeros(self.num_columns)
        result[columns] = weights
        return result

    def units(self) -> Floats:
        """Return (n,) in what to count each column: shares of a type in about as many parts as it needs replicas."""
        units = np.ones(self.num_columns)
        of_type = share_units(self.space)
        units[self.first_share : self.first_share + len(self.share_at)] = of_type[self.share_type]
        busy = self.unmet >= 0
        units[self.unmet[busy]] = of_type[busy]
        return units

    def highs(self, costs: Floats, *, relaxed: bool = False) -> highspy.HighsLp:
        """Return HiGHS's own form, to minimize ``costs`` (n,); ``relaxed`` for its linear relaxation."""
        return self.constraints.model(costs, self.upper, None if relaxed else self.whole)

    def values_of(self, replicas: Floats, shares: Floats) -> Floats:
        """Return (n,) the value of every column for ``replicas`` (D,) and ``shares`` (I, D): a start for a solver."""
        values = np.zeros(self.num_columns)
        values[self.active] = replicas > 0
        values[self.replicas] = replicas
        values[self.first_share : self.first_share + len(self.share_at)] = shares[
            self.share_type, self.share_at
        ]
        busy = np.flatnonzero(self.unmet >= 0)
        unmet = np.clip(1.0 - shares[busy].sum(axis=1), 0.0, 1.0)
        values[self.unmet[busy]] = np.minimum(unmet, self.space.max_unmet[busy])
        begun = np.flatnonzero(self.started >= 0)
        values[self.started[begun]] = np.maximum(replicas[begun] - self.space.incumbent[begun], 0.0)
        return values

    def fleet_and_shares(self, values: Floats) -> tuple[Floats, Floats]:
        """Return replicas (D,) and shares (I, D) of the columns' ``values`` (n,), within their bounds."""
        replicas = np.clip(values[self.replicas], 0.0, self.upper[self.replicas])
        shares = np.zeros((self.space.num_types, self.space.num_deployments))
        part = values[self.first_share : self.first_share + len(self.share_at)]
        shares[self.share_type, self.share_at] = np.clip(part, 0.0, 1.0)
        return replicas, shares


def share_units(space: SearchSpace) -> Floats:
    """Return (I,) powers of two near the replicas that a whole type needs at the least, 1 where that is less."""
    load = np.where(space.allowed, np.maximum(space.compute, space.memory), np.inf).min(
        axis=1, initial=np.inf
    )
    units: Floats = np.exp2(np.round(np.log2(np.maximum(np.where(np.isfinite(load), load, 1.0), 1.0))))
    return units


def _columns(size: int, of: Ints, first: int) -> tuple[Ints, int]:
    """Return (size,) columns from ``first`` on for the positions ``of``, -1 elsewhere; and the next free column."""
    columns = np.full(size, -1, dtype=np.int64)
    columns[of] = first + np.arange(len(of))
    return columns, first + len(of)
