"""CBC as a process: held to its time, gone with whoever asked for it, and nothing of it left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.domain.instance_file import load_instance
from controller.errors import SolverCrashError
from controller.optimizer import cbc
from controller.optimizer.model import build
from controller.optimizer.space import SearchSpace

ROOT = Path(__file__).parents[2]
LONG = ROOT / "tests" / "data" / "instances" / "synth-15x15x15-s8.json"
SHORT = ROOT / "tests" / "data" / "instances" / "synth-4x4x4-s1.json"

RUN = """
import signal
import sys
from pathlib import Path
from controller.domain.instance_file import load_instance
from controller.optimizer.cbc import run_cbc
from controller.optimizer.model import build
from controller.optimizer.space import SearchSpace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
model = build(SearchSpace.of(load_instance(Path(sys.argv[1]))))
print("begun", flush=True)
run_cbc(model.problem)
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, of this process and of those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def processes_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is in ``directory``: CBC and its watch."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.append(int(entry.name))
        except OSError:  # it has ended, or it is someone else's
            continue
    return found


def wait_until(holds: object, what: str) -> None:
    assert callable(holds)
    for _ in range(2_000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError(what)


def is_cbc(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "cbc"
    except OSError:
        return False


@pytest.fixture
def parent(scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for a CBC which takes long."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(LONG)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    wait_until(
        lambda: process.poll() is not None or any(is_cbc(pid) for pid in processes_in(scratch)),
        "CBC was never started",
    )
    assert process.poll() is None
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_however_the_parent_ends_no_process_and_no_file_is_left(
    parent: subprocess.Popen[str], scratch: Path, number: signal.Signals
) -> None:
    parent.send_signal(number)
    parent.wait()
    wait_until(lambda: not processes_in(scratch), "CBC outlived its parent")
    wait_until(lambda: not list(scratch.glob("coxswain-cbc-*")), "its files are still there")


def test_out_of_time_it_is_killed_and_nothing_is_left(scratch: Path) -> None:
    model = build(SearchSpace.of(load_instance(LONG)))
    assert model is not None
    run = cbc.run_cbc(model.problem, seconds=1.0)
    assert run.outcome in ("nothing", "feasible")
    assert run.outcome == "feasible" or run.values is None
    wait_until(lambda: not processes_in(scratch), "CBC outlived its time")
    assert list(scratch.iterdir()) == []


def test_infeasible_said_when_the_time_is_over_is_not_believed(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of time in its preprocessing, CBC says of any model that it is infeasible."""
    model = build(SearchSpace.of(load_instance(SHORT)))
    assert model is not None
    now_s = itertools.count()

    def says_infeasible(_words: list[str], directory: Path, _seconds: float) -> bool:
        (directory / "found.sol").write_text("Integer infeasible - objective value 185.2\n")
        (directory / "cbc.log").write_text("Pre-processing says infeasible or unbounded\n")
        return True

    monkeypatch.setattr(cbc, "_watched", says_infeasible)
    monkeypatch.setattr(cbc, "time", types.SimpleNamespace(monotonic=lambda: float(next(now_s))))
    assert cbc.run_cbc(model.problem, seconds=2.0).outcome == "nothing"
    assert cbc.run_cbc(model.problem, seconds=20.0).outcome == "infeasible"


def test_without_time_it_is_not_even_started(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was started"))
    model = build(SearchSpace.of(load_instance(SHORT)))
    assert model is not None
    assert cbc.run_cbc(model.problem, seconds=0.0).outcome == "nothing"


def test_a_start_is_used(scratch: Path) -> None:
    model = build(SearchSpace.of(load_instance(SHORT)))
    assert model is not None
    best = cbc.run_cbc(model.problem)
    assert best.outcome == "optimal"
    assert best.values is not None
    names = (variable.name for variable in model.problem.variables())
    start = dict(zip(names, best.values.tolist(), strict=True))
    again = cbc.run_cbc(model.problem, nodes=0, start=start)
    assert again.objective == pytest.approx(best.objective, rel=1e-6)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        ("Optimal - objective value 7.5", "optimal"),
        ("Stopped on time - objective value 7.5", "feasible"),
        ("Stopped on time (no integer solution - continuous used) - objective value 7.5", "nothing"),
        ("Infeasible - objective value 0", "infeasible"),
        ("Integer infeasible - objective value 0", "infeasible"),
        ("Unbounded - objective value 0", "nothing"),
    ],
)
def test_what_it_writes_is_read_for_what_it_is(tmp_path: Path, head: str, outcome: str) -> None:
    (tmp_path / "found.sol").write_text(f"{head}\n      0 X0000000   2.5   0\n**    1 C0000000   1   0\n")
    (tmp_path / "cbc.log").write_text(
        "Lower bound:                    6.25\nEnumerated nodes:               12\n"
    )
    run = cbc._read(tmp_path, {"X0000000": 0})
    assert run.outcome == outcome
    assert run.nodes == 12
    if outcome in ("optimal", "feasible"):
        assert run.values is not None
        assert (run.objective, run.bound, run.values.tolist()) == (7.5, 6.25, [2.5])
    else:
        assert run.values is None


def test_ending_without_a_word_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cbc.log").write_text("out of memory")
    with pytest.raises(SolverCrashError, match="out of memory"):
        cbc._read(tmp_path, {})
