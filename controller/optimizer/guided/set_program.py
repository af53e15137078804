"""What a set of open deployments really costs: branch and bound on its replicas, by its routing program."""

from __future__ import annotations

from typing import Any

import numpy as np

from controller.domain.arrays import Ints
from controller.optimizer.guided.branch_and_bound import BranchAndBound, Effort
from controller.optimizer.routing_program import RoutingProgram
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_GAIN = 1e-6
_LEAST_USD = 1e-9


def cheapest_of_set(
    space: SearchSpace, at: Ints, below_usd: float, programs: int, highs: Any = None
) -> AllocationState | None:
    """Return the cheapest plan below ``below_usd`` that has at least a replica of each deployment ``at`` (n,).

    The deployments are of a (model, tier) pair each. None where ``programs`` solves find no such plan. ``highs`` is
    one to use again (:class:`~controller.optimizer.linear_program.LinearProgram`).
    """
    if float(space.weights_gb[at].sum()) > space.storage_gb + 1e-6:
        return None
    program = RoutingProgram(space, at, highs)
    most, rent_usd = np.maximum(space.cap[at], 1.0), np.maximum(space.rent_usd[at], _LEAST_USD)
    search = BranchAndBound(program.linear, np.ones(len(at)), most, looks=0, unit_usd=rent_usd)
    tree = search.minimize(below_usd - program.open_usd, Effort(_GAIN, programs))
    return None if tree.values is None else program.state(tree.values)
