"""How long restricted MILPs take: what makes trees small or nodes cheap shows here, where plans may cost the same."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Ints
from controller.domain.instance import Instance
from controller.optimizer.guided.branch_and_bound import Effort
from controller.optimizer.guided.guided import guided
from controller.optimizer.guided.neighbourhoods import Neighbourhoods
from controller.optimizer.guided.restricted import RestrictedMilp
from controller.optimizer.params import Params
from controller.optimizer.relaxation import relax
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import MaxIterations

_SIZE = 16
_GAP, _NODES = 5e-4, 3000


@dataclass(frozen=True, slots=True)
class PosedMilp:
    """A MILP over the deployments ``at`` (n,) of a search space, that is to find what is cheaper than ``start``."""

    space: SearchSpace
    at: Ints
    start: AllocationState

    def took_s(self) -> float:
        """Return the CPU time that it takes to its end, s; that of many nodes where it does not come to it."""
        began_s = time.process_time()
        RestrictedMilp(self.space, self.at).solve(self.start, Effort(_GAP, _NODES))
        return time.process_time() - began_s


def posed_of(instance: Instance) -> PosedMilp:
    """Return a MILP like the second one of a search: over the plan of the first one, and the nearest others."""
    space = SearchSpace.of(instance)
    search = Search(space, MaxIterations(1), Params(), seed=0)
    guided(search)
    assert search.best is not None
    others = Neighbourhoods(search, relax(space)).next(_SIZE)
    return PosedMilp(space, np.union1d(others, search.best.open), search.best)
