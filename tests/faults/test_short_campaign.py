"""The fault programme's short form: a few faults of each kind, all of which must land and hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.campaign]
ROOT = Path(__file__).parents[2]


def test_a_few_faults_of_each_kind_hold_and_two_mutants_are_caught(kraft: ModuleType, tmp_path: Path) -> None:
    try:
        kraft.fetch_jars()
    except kraft.CannotHaveKafka as reason:
        pytest.skip(f"no Apache Kafka: {reason}")
    command = [sys.executable, "-m", "tests.faults", "--short", "--json", "--ledger", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = json.loads(done.stdout)
    assert {row["kind"] for row in rows} == {
        "kill",
        "rebalance",
        "broker",
        "zombie",
        "takeover",
        "poison",
        "mutant",
    }
    for row in rows:
        assert row["landed"] > 0, f"no {row['fault']} landed"
        assert (row["lost"], row["double"], row["stale_applied"], row["broken"]) == (0, 0, 0, 0)
