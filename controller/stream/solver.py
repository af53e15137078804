"""The planner's side of the solver process: a deadline for every solve, and a new process after every failure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from controller.domain.instance_file import write_instance
from controller.domain.plan import read_plan
from controller.errors import CoxswainError, SolverCrashError, SolverError, SolverTimeoutError
from controller.kill_points import passing
from controller.logs import get_logger
from controller.optimizer.memory import SolverMemory
from controller.optimizer.scenarios import Scenarios
from controller.records import SolverAnswer, SolveRequest, SolverFailure
from controller.settings import SolverSettings

log = get_logger(__name__)

_LONGEST_LINE_BYTES = 64 * 1024 * 1024


class SolverProcess:
    """A solver in a process group of its own. Solves one request at a time.

    Parameters
    ----------
    settings : method, limits and deadline.
    command : what to run; for tests that need a solver which misbehaves.
    """

    def __init__(self, settings: SolverSettings, command: tuple[str, ...] | None = None) -> None:
        self._settings = settings
        self._command = command or (
            sys.executable,
            "-m",
            "controller.stream.solver_process",
            str(settings.memory_mb),
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, ahead of the first solve."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_LONGEST_LINE_BYTES,
            )

    async def stop(self) -> None:
        """Kill the whole process group; nothing in it matters."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def solve(self, request: SolveRequest) -> SolverAnswer | SolverFailure:
        """Return the solver's answer, or why there is none; never raises for what the solver does."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                return read_answer(await self._ask(request))
        except TimeoutError:
            failure: SolverError = SolverTimeoutError(self._settings.deadline_s)
        except SolverError as error:
            failure = error
        await self.stop()
        log.warning("solver_failed", reason=failure.reason, error=str(failure))
        return SolverFailure(failure.reason, str(failure), time.monotonic() - started)

    async def _ask(self, request: SolveRequest) -> dict[str, Any]:
        await self.start()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        question = json.dumps(write_question(request, self._settings)).encode()
        try:
            process.stdin.write(question + b"\n")
            await process.stdin.drain()
            passing("mid-solve")
            line = await process.stdout.readline()
        except (BrokenPipeError, ConnectionResetError, ValueError) as error:
            raise SolverCrashError(f"the solver's process broke off: {error}") from None
        if not line:
            raise SolverCrashError(f"the solver's process ended with exit code {await process.wait()}")
        try:
            said = json.loads(line)
        except ValueError:
            raise SolverCrashError(f"the solver said something that is no JSON: {line[:80]!r}") from None
        if not isinstance(said, dict):
            raise SolverCrashError(f"the solver said something that is no answer: {line[:80]!r}")
        return said


def write_question(request: SolveRequest, settings: SolverSettings) -> dict[str, Any]:
    """Write a request for the solver's process, with all that the outcome depends on."""
    return {
        "instance": write_instance(request.instance),
        "initial": request.initial.to_json(),
        "method": settings.method,
        "seed": settings.seed,
        "time_limit_s": settings.time_limit_s,
        "iterations": settings.iterations,
        "scenarios": _scenarios_json(request.scenarios),
        "memory": None if request.memory is None else request.memory.to_json(),
    }


def _scenarios_json(scenarios: Scenarios | None) -> dict[str, Any] | None:
    if scenarios is None:
        return None
    return {"weights": scenarios.weights.tolist(), "rates_per_s": scenarios.rates_per_s.tolist()}


def read_answer(said: dict[str, Any]) -> SolverAnswer:
    """Check what the solver said; that its plan holds is the judge's to say."""
    if "error" in said:
        raise SolverCrashError(f"the solver raised {said['error']}")
    try:
        status, bound_usd = said["status"], said["lower_bound_usd"]
        if status not in ("optimal", "feasible", "infeasible"):
            raise SolverCrashError(f"the solver gave an unknown status, {status!r}")
        memory = said["memory"]
        return SolverAnswer(
            status=status,
            method=str(said["method"]),
            runtime_s=float(said["runtime_s"]),
            plan=read_plan(said["plan"]),
            lower_bound_usd=None if bound_usd is None else float(bound_usd),
            conflict=tuple(str(part) for part in said["conflict"]),
            memory=None if memory is None else SolverMemory.of_json(memory),
        )
    except SolverError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, CoxswainError) as error:
        raise SolverCrashError(f"the solver's answer is not one: {type(error).__name__}: {error}") from None
