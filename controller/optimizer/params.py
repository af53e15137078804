"""What steers the methods, beside when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from controller.errors import SettingsError

MilpSolver = Literal["highs", "cbc"]


@dataclass(frozen=True, slots=True)
class Params:
    """Validated settings of the optimizer.

    Parameters
    ----------
    bound_share : part of a time limit that the lower bound may take, 0..1; 0 for no bound.
    bound_rounds : most rounds of column generation.
    bound_gap : relative distance of bound and relaxation at which column generation stops.
    ruin_share : part of the plain AGH's starts, once the fixed orders are through, that rebuild part of the best
        plan, 0..1.
    least_saving : part of the cost below which a saving is not worth a move of the local search.
    node_limit : most branch-and-bound nodes of a MILP; None for no limit.
    milp_gap : relative gap at which a MILP counts as solved.
    milp_solver : ``highs``, in this process, or ``cbc``, in one of its own.
    fallback_s, fallback_nodes : bounds of what is done where a method finds no plan that keeps ``max_unmet``: a MILP
        that finds one, or proves that there is none, and then the words for what clashes. A solve that has a time limit
        ends within it and this many seconds.
    """

    bound_share: float = 0.2
    bound_rounds: int = 200
    bound_gap: float = 1e-3
    ruin_share: float = 0.75
    least_saving: float = 1e-5
    node_limit: int | None = None
    milp_gap: float = 1e-7
    milp_solver: MilpSolver = "highs"
    fallback_s: float = 1.0
    fallback_nodes: int = 20_000

    def __post_init__(self) -> None:
        for name in ("bound_share", "ruin_share"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise SettingsError(f"params.{name}", "must lie in 0..1", value)
        for name in ("bound_gap", "least_saving", "milp_gap"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"params.{name}", "must be finite and at least 0", value)
        if self.bound_rounds < 1:
            raise SettingsError("params.bound_rounds", "must be at least 1", self.bound_rounds)
        if self.milp_solver not in get_args(MilpSolver):
            raise SettingsError(
                "params.milp_solver", f"must be one of {', '.join(get_args(MilpSolver))}", self.milp_solver
            )
        if not self.fallback_s >= 0:
            raise SettingsError("params.fallback_s", "must be at least 0", self.fallback_s)
        if self.fallback_nodes < 0:
            raise SettingsError("params.fallback_nodes", "must be at least 0", self.fallback_nodes)
        if self.node_limit is not None and self.node_limit < 0:
            raise SettingsError("params.node_limit", "must be at least 0", self.node_limit)
