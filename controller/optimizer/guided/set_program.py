"""What a set of open deployments really costs: branch and bound on its replicas, by its routing program."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.routing_program import RoutingProgram
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_WHOLE = 1e-6
_GAIN = 1e-6
_NEARLY_DOWN = 0.3


def cheapest_of_set(space: SearchSpace, at: Ints, below_usd: float, programs: int) -> AllocationState | None:
    """Return the cheapest plan below ``below_usd`` that has at least a replica of each deployment ``at`` (n,).

    The deployments are of a (model, tier) pair each. None where ``programs`` solves find no such plan.
    """
    if float(space.weights_gb[at].sum()) > space.storage_gb + 1e-6:
        return None
    program = RoutingProgram(space, at)
    stack = [(np.ones(len(at)), np.maximum(space.cap[at], 1.0))]
    found: Floats | None = None
    limit_usd = below_usd
    for _ in range(programs):
        if not stack:
            break
        lower, upper = stack.pop()
        usd = program.run(lower, upper)
        if usd >= limit_usd * (1.0 - _GAIN):
            continue
        values = program.values
        replicas = program.replicas(values)
        away = np.abs(replicas - np.rint(replicas))
        n = int(away.argmax())
        if away[n] <= _WHOLE:
            found, limit_usd = values, usd
            continue
        less, more = upper.copy(), lower.copy()
        less[n], more[n] = np.floor(replicas[n]), np.ceil(replicas[n])
        branches = [(lower, less), (more, upper)]
        if replicas[n] - less[n] < _NEARLY_DOWN:
            branches.reverse()
        stack.extend(branches)
    return None if found is None else program.state(found)
