"""A solve in progress: the best plan so far, the bound, the count of iterations, and whether to go on."""

from __future__ import annotations

import math

# NumPy imports these two where they are first used: in the midst of a first solve, which would lose 25 ms to it.
import numpy.ma
import numpy.random

from controller.optimizer.memory import SolverMemory
from controller.optimizer.params import Params
from controller.optimizer.pricing import Prices
from controller.optimizer.result import PROVED_GAP
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import Progress, StopRule

_BETTER = 1e-9


class Search:
    """What every method is given, and leaves its findings in.

    Parameters
    ----------
    initial : states to start from, such as the plan that runs now; the earlier one stands where costs are equal.
    memory : what is known from solves before.

    Attributes
    ----------
    prices : those of the relaxation, for the next memory; None where no method has found any.
    """

    def __init__(
        self,
        space: SearchSpace,
        stop: StopRule,
        params: Params,
        seed: int,
        initial: tuple[AllocationState, ...] = (),
        memory: SolverMemory | None = None,
    ) -> None:
        self.space = space
        self.stop = stop
        self.params = params
        self.random = numpy.random.default_rng(seed)
        self.initial = initial
        self.memory = memory
        self.prices: Prices | None = None
        self.best: AllocationState | None = None
        self.best_usd = math.inf
        self.lower_bound_usd: float | None = None
        self.iterations = 0
        self.proved_optimal = False
        self.proved_infeasible = False
        for state in initial:
            self.offer(state)

    def offer(self, state: AllocationState) -> bool:
        """Keep a copy of ``state`` if it keeps the limits and is better than the best one.

        One that serves enough of every type is better than one that does not; of two that are alike in this, the
        cheaper one, by more than rounding.
        """
        cost, enough = state.cost_usd(), state.serves_enough
        if self.best is not None and enough != self.best.serves_enough:
            better = enough
        else:
            better = cost < self.best_usd - _BETTER * abs(cost)
        if not better or not state.keeps_limits:
            return False
        self.best, self.best_usd = state.copy(), cost
        return True

    def forget(self) -> None:
        """Forget the best state: a plan is known, and this is none."""
        self.best, self.best_usd = None, math.inf

    @property
    def progress(self) -> Progress:
        """What stop rules are told; a plan that serves too little is none to them."""
        enough = self.best is not None and self.best.serves_enough
        return Progress(self.iterations, self.best_usd if enough else math.inf, self.lower_bound_usd)

    def done(self) -> bool:
        """Whether to stop: by the rule, or because nothing is left to find."""
        progress = self.progress
        return self.stop(progress) or progress.gap <= PROVED_GAP

    def out_of_time(self) -> bool:
        """Whether to stop within an iteration: only time can say so."""
        return self.stop.remaining_s() <= 0
