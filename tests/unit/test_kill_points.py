"""Kill points are off by default, and one that is armed fires once, on the passage that was asked for."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from controller import kill_points
from controller.errors import SettingsError

STREAM = Path(__file__).parents[2] / "controller" / "stream"


def test_nothing_is_armed_by_default() -> None:
    for point in kill_points.POINTS:
        kill_points.passing(point)


def test_an_armed_point_fires_once_on_the_passage_that_was_asked_for() -> None:
    sent: list[signal.Signals] = []
    passing = kill_points.arm("after-store:3", sent.append)
    for _ in range(2):
        passing("after-store")
        passing("before-store")
    assert sent == []
    passing("after-store")
    assert sent == [signal.SIGKILL]
    passing("after-store")
    assert len(sent) == 1


def test_any_counts_the_passages_of_all_points_and_the_signal_may_be_another() -> None:
    sent: list[signal.Signals] = []
    passing = kill_points.arm("any:2:SIGSTOP", sent.append)
    passing("mid-solve")
    passing("before-publish")
    assert sent == [signal.SIGSTOP]


@pytest.mark.parametrize(
    "armed", ["nowhere:1", "after-store", "after-store:0", "after-store:x", "any:1:SIGNOT"]
)
def test_what_cannot_be_armed_is_refused(armed: str) -> None:
    with pytest.raises(SettingsError, match="COXSWAIN_KILL_AT"):
        kill_points.arm(armed, lambda _: None)


def test_each_named_point_is_passed_at_one_place_of_the_worker() -> None:
    named = re.findall(r'passing\("([a-z-]+)"\)', "".join(path.read_text() for path in STREAM.glob("*.py")))
    assert sorted(named) == sorted(kill_points.POINTS)
