"""The whole loop, as a user meets it: the command, its exit code, its summary."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.stream

ROOT = Path(__file__).parents[2]
FIELDS = {
    "events_sent", "events_counted", "events_late", "events_refused", "events_duplicate", "plans_published",
    "plans_applied", "cost_usd", "unmet_fraction", "max_gap",
}  # fmt: skip


def demo(*arguments: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "controller", "demo", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, done.stderr


def hold_it_to_its_word(summary: dict[str, Any]) -> None:
    assert summary.keys() >= FIELDS
    accounted = [summary[f"events_{state}"] for state in ("counted", "late", "refused", "duplicate")]
    assert summary["events_sent"] == sum(accounted)
    assert summary["plans_published"] == summary["plans_applied"] == summary["plans_accepted"] >= 48
    assert summary["plans_published"] == sum(summary["decisions"].values())
    assert summary["cost_usd"] > 0
    assert 0 <= summary["unmet_fraction"] <= 1
    assert summary["max_gap"] is None or 0 <= summary["max_gap"] <= 1


def trace(name: str) -> list[str]:
    folder = os.environ.get("COXSWAIN_TRACES")
    if not folder:
        pytest.skip("COXSWAIN_TRACES names no folder of real traces")
    return [str(path) for path in sorted(Path(folder).glob(name))]


@pytest.mark.slow
def test_the_generated_day_ends_by_itself_with_everything_accounted_for() -> None:
    summary, shown = demo()
    hold_it_to_its_word(summary)
    assert summary["events_sent"] > 300_000
    assert "demo_progress" in shown, "while it runs, it shows what is happening"
    assert "this is the embedded broker" in shown.lower(), "it says what the broker is and is not"


@pytest.mark.slow
@pytest.mark.traces
def test_an_hour_of_azure_is_planned_every_minute() -> None:
    summary, _ = demo("--trace", *trace("azure_2023/*.csv"))
    hold_it_to_its_word(summary)
    assert summary["events_counted"] >= 8_819 + 19_366


@pytest.mark.slow
@pytest.mark.traces
def test_a_day_of_four_types_is_planned_every_five_minutes() -> None:
    summary, _ = demo("--trace", *trace("servegen_day/*.csv.gz"))
    hold_it_to_its_word(summary)
    assert summary["events_counted"] >= 396_565


def test_a_trace_that_is_not_there_is_bad_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller", "demo", "--trace", "nowhere.csv"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
    assert "Traceback" not in done.stderr
