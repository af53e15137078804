"""The benchmark of ingest is a command of its own; that it runs at all is a matter for the tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_ingest_can_be_measured_beside_others_on_the_embedded_broker() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.stream", "--embedded", "--json"]
    done = subprocess.run(
        [*command, "--events", "2000", "--slow-limit", "2", "--plans", "0"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["broker"] == "embedded"
    (ran,) = said["rounds"]
    for name in ("worker", "aiokafka", "confluent"):
        row = ran[name]
        assert row["records"] == 2000
        assert min(row["per_s"], row["peak_mb"]) > 0
    assert ran["faust"]["records"] > 0
