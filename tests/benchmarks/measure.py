"""What one solve is measured by: its own CPU time, so that the noise of others on the machine does not count."""

from __future__ import annotations

import contextlib
import cProfile
import json
import math
import multiprocessing
import pstats
import resource
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from controller.domain.entities import Switching
from controller.domain.instance import Instance
from controller.domain.instance_file import read_instance, write_instance
from controller.domain.plan import incumbent_of
from controller.optimizer.highs import run_highs
from controller.optimizer.program import Program
from controller.optimizer.result import Result
from controller.optimizer.scenarios import with_rates
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxRuntime
from tests.benchmarks.families import instance_of

ROOT = Path(__file__).parents[2]
HIGHS_GB, _OUT_OF_MEMORY = 8, 3


@dataclass(frozen=True, slots=True)
class Timed:
    """A result, and the CPU seconds that it took."""

    result: Result
    cpu_s: float


def timed(
    instance: Instance, limit_s: float, method: str = "agh", seed: int = 0, after: Result | None = None
) -> Timed:
    """Solve with a limit on CPU time; with the plan and the memory of the solve before, ``after``, if there was one."""
    known = {} if after is None else {"initial": after.plan, "memory": after.memory}
    began_s = time.process_time()
    result = solve(instance, MaxRuntime(limit_s, time.process_time), seed=seed, method=method, **known)
    return Timed(result, time.process_time() - began_s)


@dataclass(frozen=True, slots=True)
class WholeMilp:
    """What HiGHS finds on the whole model: each plan that is cheaper than those before, and after how many seconds.

    ``ended`` is False where it was given up before its limit of time: it had no more memory.
    """

    found: tuple[tuple[float, float], ...]
    ended: bool

    @property
    def best_usd(self) -> float:
        """The cost of the cheapest plan; inf without one."""
        return min((usd for _, usd in self.found), default=math.inf)

    def took_s(self, usd: float) -> float:
        """Return the CPU seconds until there was a plan as cheap; inf where there was none."""
        return min(
            (took_s for took_s, found_usd in self.found if found_usd <= usd * (1 + 1e-6)), default=math.inf
        )


def whole_milp(instance: Instance, limit_s: float) -> WholeMilp:
    """Run HiGHS on the whole model, until it has proved an optimum or a limit of its own time is over.

    In a process of its own with :data:`HIGHS_GB` of address space: its tree of a large model takes 24 GB in a minute.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_whole_milp, args=(writer, write_instance(instance), limit_s))
    process.start()
    writer.close()
    found: list[tuple[float, float]] = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(reader.recv())
    process.join()
    if process.exitcode not in (0, _OUT_OF_MEMORY):
        raise RuntimeError(f"HiGHS on all of {instance.name} ended with exit code {process.exitcode}")
    return WholeMilp(tuple(found), ended=process.exitcode == 0)


def _whole_milp(writer: Connection, data: dict[str, Any], limit_s: float) -> None:
    instance = read_instance(data)
    limit_bytes = HIGHS_GB << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    began_s = time.process_time()
    program = Program.of(SearchSpace.of(instance))
    try:
        run_highs(
            program.highs(program.cost_usd()),
            seconds=limit_s,
            gap=1e-4,
            improved=lambda usd: writer.send((time.process_time() - began_s, usd)),
        )
    except MemoryError:
        sys.exit(_OUT_OF_MEMORY)


def of_a_tick(instance: Instance) -> Instance:
    """Return the instance as one tick of five minutes: to start a replica costs something, and no budget binds."""
    return replace(instance, horizon_h=1 / 12, budget_usd=None, switching=Switching(120.0, 2.0), incumbent={})


def moved(instance: Instance, before: Result, spread: float, seed: int) -> Instance:
    """Return the next tick: every rate moved by exactly ``spread``, up or down, from the plan ``before``."""
    random = np.random.default_rng(seed)
    rates = np.array([item.arrival_rate_per_s for item in instance.query_types])
    plan = before.plan
    next_tick = with_rates(instance, rates * (1 + spread * random.choice([-1.0, 1.0], len(rates))))
    return next_tick if plan is None else replace(next_tick, incumbent=dict(incumbent_of(plan)))


def by_stage(instance: Instance, limit_s: float) -> dict[str, float]:
    """Return the part of a solve's time that each module of the optimizer, and HiGHS, take themselves."""
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    solve(instance, MaxRuntime(limit_s, time.process_time))
    profile.disable()
    spent: dict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        parts = Path(file).parts
        if "optimizer" in parts:
            spent["/".join(parts[parts.index("optimizer") + 1 :])] += own_s
        else:
            spent["HiGHS" if "highs" in name.lower() else "NumPy and the rest"] += own_s
    total_s = sum(spent.values())
    return dict(sorted(((name, own_s / total_s) for name, own_s in spent.items()), key=lambda item: -item[1]))


def alone(name: str, limit_s: float) -> dict[str, float | None]:
    """Solve a generated instance in a process of its own; return its size, cost, gap, seconds and peak memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.measure", name, str(limit_s)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    measured: dict[str, float | None] = json.loads(done.stdout)
    return measured


def _alone(name: str, limit_s: float) -> dict[str, float | None]:
    instance = instance_of(name)
    began_s = time.process_time()
    deployments = instance.arrays.num_deployments
    setup_s = time.process_time() - began_s
    base_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gh, agh = timed(instance, limit_s, "gh"), timed(instance, limit_s)
    return {
        "deployments": deployments,
        "setup_s": setup_s,
        "gh_usd": gh.result.objective_usd,
        "gh_s": gh.cpu_s,
        "agh_usd": agh.result.objective_usd,
        "agh_s": agh.cpu_s,
        "gap": agh.result.gap,
        "base_mb": base_mb,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_alone(sys.argv[1], float(sys.argv[2]))))
