"""The planner's solver is contained: whatever its process does, there is an answer or a named failure, in time."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.domain.plan import Plan
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations
from controller.records import SolverAnswer, SolveRequest, SolverFailure
from controller.settings import SolverSettings
from controller.simulate.offline import deterministic
from controller.stream.solver import SolverProcess

INSTANCES = Path(__file__).parents[1] / "data" / "instances"
INSTANCE = load_instance(INSTANCES / "synth-4x4x4-s1.json")
OTHER = load_instance(INSTANCES / "paper-s7-x30-avg.json")
SETTINGS = SolverSettings(iterations=3, deadline_s=60.0, memory_mb=4096)


def stub(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys, time, json\nfor line in sys.stdin:\n    {code}")


async def ask(
    command: tuple[str, ...] | None, settings: SolverSettings = SETTINGS
) -> SolverAnswer | SolverFailure:
    solver = SolverProcess(settings, command)
    try:
        return await solver.solve(SolveRequest(INSTANCE, Plan()))
    finally:
        await solver.stop()


async def test_the_real_solver_answers_with_a_plan_that_the_judge_accepts() -> None:
    said = await ask(None)
    assert isinstance(said, SolverAnswer)
    assert evaluate(INSTANCE, said.plan).is_feasible


async def test_the_same_request_and_iterations_give_the_same_plan() -> None:
    first, second = await ask(None), await ask(None)
    assert isinstance(first, SolverAnswer)
    assert isinstance(second, SolverAnswer)
    assert first.plan == second.plan


def busier(factor: float) -> Instance:
    types = INSTANCE.query_types
    return replace(
        INSTANCE,
        query_types=tuple(replace(t, arrival_rate_per_s=factor * t.arrival_rate_per_s) for t in types),
    )


async def test_what_an_answer_leaves_reaches_the_solver_with_the_next_request_as_it_does_offline() -> None:
    solver, offline = SolverProcess(SETTINGS), deterministic(3)
    live = at_hand = SolveRequest(INSTANCE, Plan())
    met = set()
    try:
        for factor in (1.0, 8.0, 2.0, 8.0, 1.0):
            said = await solver.solve(replace(live, instance=busier(factor)))
            told = offline(replace(at_hand, instance=busier(factor)))
            assert isinstance(said, SolverAnswer)
            assert isinstance(told, SolverAnswer)
            assert said.memory is not None
            assert (said.plan, said.lower_bound_usd, said.memory) == (
                told.plan,
                told.lower_bound_usd,
                told.memory,
            )
            met.add(frozenset(said.plan.replicas))
            assert {past.deployments for past in said.memory.sets} == met
            live = replace(live, initial=said.plan, memory=said.memory)
            at_hand = replace(at_hand, initial=told.plan, memory=told.memory)
    finally:
        await solver.stop()
    assert len(met) > 1


async def test_a_memory_of_another_fleet_does_no_harm() -> None:
    other = solve(OTHER, MaxIterations(2)).memory
    solver = SolverProcess(SETTINGS)
    try:
        said = await solver.solve(SolveRequest(INSTANCE, Plan(), memory=other))
    finally:
        await solver.stop()
    assert isinstance(said, SolverAnswer)
    assert evaluate(INSTANCE, said.plan).is_feasible


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("time.sleep(60)", "timeout", "not done after"),
        (
            "import signal; [signal.signal(s, signal.SIG_IGN) for s in (15, 2, 1)]; [0 for _ in iter(int, 1)]",
            "timeout",
            "not done after",
        ),
        ("sys.exit(3)", "crashed", "exit code 3"),
        ("print('no json', flush=True)", "crashed", "no JSON"),
        ("print('[1]', flush=True)", "crashed", "no answer"),
        ("print('{}', flush=True)", "crashed", "KeyError"),
        ("print(json.dumps({'error': 'ValueError: x'}), flush=True)", "crashed", "raised ValueError: x"),
        ("print(json.dumps({'status': 'great', 'lower_bound_usd': 0}), flush=True)", "crashed", "'great'"),
        (
            "print(json.dumps({'status': 'feasible', 'lower_bound_usd': 0, 'method': '', 'runtime_s': 0, 'plan': {}, "
            "'conflict': [], 'memory': [1]}), flush=True)",
            "crashed",
            "TypeError",
        ),
    ],
)
async def test_a_solver_that_misbehaves_is_a_named_failure(code: str, reason: str, detail: str) -> None:
    said = await ask(stub(code), replace_deadline(1.0 if reason == "timeout" else 60.0))
    assert isinstance(said, SolverFailure)
    assert said.reason == reason
    assert detail in said.detail


def replace_deadline(deadline_s: float) -> SolverSettings:
    return SETTINGS.model_copy(update={"deadline_s": deadline_s})


async def test_after_a_failure_the_next_request_gets_a_new_process(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = (
        f"import pathlib; mark = pathlib.Path({str(mark)!r}); was = mark.exists(); mark.touch(); "
        "print('[]', flush=True) if was else sys.exit(1)"
    )
    solver = SolverProcess(replace_deadline(30.0), stub(code))
    request = SolveRequest(INSTANCE, Plan())
    first, second = await solver.solve(request), await solver.solve(request)
    await solver.stop()
    assert isinstance(first, SolverFailure)
    assert isinstance(second, SolverFailure)
    assert "exit code 1" in first.detail
    assert "no answer" in second.detail


async def test_a_killed_solver_takes_its_children_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    said = await ask(stub(code), replace_deadline(3.0))
    assert isinstance(said, SolverFailure)
    stat = Path(f"/proc/{int(pid_file.read_text())}/stat")
    for _ in range(500):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        await asyncio.sleep(0.01)
    pytest.fail("the solver's child lives on")


async def test_a_solver_that_eats_memory_is_stopped_by_its_limit_and_says_so() -> None:
    greedy = (
        sys.executable,
        "-c",
        "import sys; sys.argv = ['x', '1024']; import controller.stream.solver_process as s; "
        "s.answer = lambda q: [bytes(2**28) for _ in range(2**8)]; s.main()",
    )
    said = await ask(greedy)
    assert isinstance(said, SolverFailure)
    assert said.reason == "crashed"
    assert "MemoryError" in said.detail


async def test_what_a_library_prints_does_not_pass_for_an_answer() -> None:
    noisy = (
        sys.executable,
        "-c",
        "import os, sys; sys.argv = ['x', '4096']; import controller.stream.solver_process as s; "
        "real = s.answer; s.answer = lambda q: (print('banner'), os.write(1, b'noise\\n'), real(q))[2]; s.main()",
    )
    said = await ask(noisy)
    assert isinstance(said, SolverAnswer)
