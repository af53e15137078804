"""A first solve has all of its time: nothing is imported in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from pathlib import Path
from controller.domain.instance_file import load_instance
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations

instance = load_instance(Path("tests/data/instances/synth-4x4x4-s1.json"))
instance.arrays
before = set(sys.modules)
result = solve(instance, MaxIterations(3), seed=1, method=sys.argv[1])
assert result.plan is not None
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("method", ["gh", "agh-plain", "agh"])
def test_nothing_is_imported_in_a_first_solve(method: str) -> None:
    command = [sys.executable, "-c", CODE, method]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == []
