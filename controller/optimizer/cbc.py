"""CBC in a process of its own, as PuLP's other solver: held to its time, and never left behind.

CBC honours ``-sec`` only between some of its steps, and PuLP waits for it for as long as it takes. Here it runs in its
own process group under a shell that does nothing but watch: when the time is up, on any exception, and when *this*
process is gone, however it went (the pipe that it holds closes even on SIGKILL), the group is killed and its files go.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pulp.apis import coin_api

from controller.errors import SolverCrashError
from controller.optimizer.highs import Run

GRACE_S = 0.3
"""How long CBC may take, beyond its time, to write down what it has."""

# Files go before CBC does: once it is gone, the shell ends its watcher.
_WATCH = """
exec 3<&0
"$@" </dev/null >cbc.log 2>&1 &
child=$!
{ read -r _ <&3; cd /; rm -rf -- "$0"; kill -KILL $child; } 2>/dev/null &
watcher=$!
exec 3<&-
wait $child
status=$?
kill -KILL $watcher
exit $status
"""
_BOUND = re.compile(r"^(?:Lower bound|best possible):\s+(\S+)", re.MULTILINE)
_NODES = re.compile(r"^Enumerated nodes:\s+(\d+)", re.MULTILINE)
_TOLERANCE = 1e-8
_TIME_SHARE = 0.9  # CBC looks at its clock now and then only


def run_cbc(
    problem: Any,
    *,
    seconds: float = math.inf,
    nodes: int | None = None,
    gap: float = 0.0,
    start: Mapping[str, float] | None = None,
) -> Run:
    """Minimize a PuLP problem; ``values`` of the result are in the order of ``problem.variables()``.

    Parameters
    ----------
    seconds, nodes, gap : limits; the time counts from the call, the gap is relative.
    start : a solution to begin from, by variable name.

    Raises
    ------
    SolverCrashError : there is no CBC, or it ended without a word on what it found.
    """
    until_s = time.monotonic() + seconds
    executable = shutil.which("cbc") or shutil.which(coin_api.pulp_cbc_path)
    if executable is None:
        raise SolverCrashError(
            f"there is no CBC: neither cbc on the path nor PuLP's own at {coin_api.pulp_cbc_path}"
        )
    with tempfile.TemporaryDirectory(prefix="coxswain-cbc-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        variables, renamed, *_ = problem.writeMPS(str(directory / "model.mps"), rename=1)
        options = ["-threads", "1", "-ratio", repr(gap), "-primalTolerance", repr(_TOLERANCE)]
        if start is not None:
            lines = [f"{n} {renamed[v.name]} {start.get(v.name, 0.0)!r} 0" for n, v in enumerate(variables)]
            (directory / "start.mst").write_text(
                "\n".join(["Stopped on time - objective value 0", *lines, ""])
            )
            options += ["-mips", "start.mst"]
        if nodes is not None:
            options += ["-maxNodes", str(nodes)]
        begun_s = time.monotonic()
        left_s = until_s - begun_s
        if left_s <= 0:
            return Run("nothing", None, math.inf, -math.inf)
        limit_s = left_s * _TIME_SHARE
        if math.isfinite(limit_s):
            options += ["-sec", f"{limit_s:.3f}", "-timeMode", "elapsed"]
        words = [
            executable,
            "model.mps",
            *options,
            "-solve",
            "-solution",
            "found.sol",
        ]
        ended = _watched(words, directory, left_s + GRACE_S)
        if not ended:
            return Run("nothing", None, math.inf, -math.inf)
        run = _read(directory, {renamed[variable.name]: n for n, variable in enumerate(variables)})
        if run.outcome == "infeasible" and time.monotonic() - begun_s >= limit_s:
            # Out of time in its preprocessing, CBC says "infeasible or unbounded" of any model.
            return Run("nothing", None, math.inf, -math.inf, run.nodes)
        return run.within(gap)


def _watched(words: list[str], directory: Path, seconds: float) -> bool:
    """Run CBC under its watch; return whether it ended by itself within ``seconds``."""
    process = subprocess.Popen(  # noqa: S603 - the solver that PuLP brings along
        ["/bin/sh", "-c", _WATCH, str(directory), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        start_new_session=True,
    )
    with contextlib.ExitStack() as last:
        if process.stdin is not None:
            last.callback(process.stdin.close)
        try:
            process.wait(seconds if math.isfinite(seconds) else None)
        except BaseException as problem:
            os.killpg(
                process.pid, signal.SIGKILL
            )  # it has not been waited for, so the group is still its own
            process.wait()
            if isinstance(problem, subprocess.TimeoutExpired):
                return False
            raise
    return True


def _read(directory: Path, position: Mapping[str, int]) -> Run:
    """Read what CBC has written."""
    log = (directory / "cbc.log").read_text(errors="replace")
    path = directory / "found.sol"
    if not path.exists():
        raise SolverCrashError(
            f"CBC ended without a solution file: {log[-200:].strip() or 'it said nothing'}"
        )
    head, *lines = path.read_text().splitlines()
    found_bound, found_nodes = _BOUND.findall(log), _NODES.findall(log)
    nodes = int(found_nodes[-1]) if found_nodes else 0
    bound = float(found_bound[-1]) if found_bound else -math.inf
    if head.startswith(("Infeasible", "Integer infeasible")):
        return Run("infeasible", None, math.inf, math.inf, nodes)
    solved = head.startswith("Optimal")
    if "no integer solution" in head or not (solved or head.startswith("Stopped")):
        return Run("nothing", None, math.inf, bound, nodes)
    values = np.zeros(len(position))
    for line in lines:
        _, name, value, *_ = line.removeprefix("**").split()
        if name in position:  # rows are listed, too
            values[position[name]] = float(value)
    objective = float(head.rpartition(" ")[2])
    if solved and not found_bound:
        bound = objective
    return Run("optimal" if solved else "feasible", values, objective, bound, nodes)
