"""Benchmarks are commands of their own; that they run at all is a matter for the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from controller.domain.instance_file import load_instance
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations
from tests.benchmarks.ablation import WITHOUT, left_out

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("only", ["4x4x4", "no such instance"])
def test_the_optimizers_table_can_be_made(only: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.optimizer",
            "--only",
            only,
            "--part",
            "warm",
            "--part",
            "cold",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if only == "4x4x4":
        assert done.returncode == 0, done.stderr
        assert "synth-4x4x4-s1" in done.stdout
        assert "agh 0.3 s" in done.stdout
        assert "30%, 0.1 s" in done.stdout
    else:
        assert done.returncode == 1
        assert "no instance is called" in done.stderr


@pytest.mark.parametrize("mechanism", WITHOUT)
def test_each_part_of_the_search_can_be_left_out(mechanism: str) -> None:
    instance = load_instance(ROOT / "tests" / "data" / "instances" / "synth-6x6x10-s2-x3.json")
    with left_out(mechanism):
        assert solve(instance, MaxIterations(3)).is_feasible
