"""The solver's own process: reads requests from standard input, writes answers to standard output, a JSON line each.

It keeps running from tick to tick, so that a solve does not pay for imports. It ends when its parent is gone, takes no
more memory than it is given, and can be killed at any moment: it holds nothing that matters.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

import numpy as np

from controller.domain.instance_file import read_instance
from controller.domain.plan import Plan, read_plan
from controller.optimizer.memory import SolverMemory
from controller.optimizer.scenarios import Scenarios
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations, MaxRuntime

_PR_SET_PDEATHSIG = 1


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Solve one request; both are plain data."""
    instance = read_instance(request["instance"])
    iterations, remembered = request["iterations"], request["memory"]
    result = solve(
        instance,
        stop=MaxRuntime(request["time_limit_s"]) if iterations is None else MaxIterations(iterations),
        seed=request["seed"],
        initial=read_plan(request["initial"]),
        method=request["method"],
        scenarios=_scenarios(request.get("scenarios")),
        memory=None if remembered is None else SolverMemory.of_json(remembered),
    )
    plan = result.plan or Plan()
    return {
        "status": result.status,
        "method": result.method,
        "runtime_s": result.runtime_s,
        "plan": plan.to_json(),
        "lower_bound_usd": result.lower_bound_usd,
        "conflict": list(result.conflict),
        "memory": None if result.memory is None else result.memory.to_json(),
    }


def _scenarios(written: dict[str, Any] | None) -> Scenarios | None:
    if written is None:
        return None
    return Scenarios(np.array(written["weights"]), np.array(written["rates_per_s"]))


def main() -> None:
    """Serve requests until standard input ends. The one argument is the memory limit, MB."""
    if sys.platform == "linux":
        # A parent that is killed cannot close anything; the kernel tells us instead.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    limit_bytes = int(sys.argv[1]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not pass for an answer
    for line in sys.stdin.buffer:
        try:
            said = answer(json.loads(line))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    main()
