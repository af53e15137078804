"""The last good plan on disk: whole or not at all, and never a reason to crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller.router.fence import Fence, LogIdentity
from controller.router.last_good import LastGoodStore
from schemas import AllocationPlan

PLAN = AllocationPlan.model_validate_json(
    (Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes()
)
IDENTITY = LogIdentity("cluster-1", "topic-1")
FILE = "last-good-plan.json"


def test_what_was_kept_comes_back_with_its_fence(tmp_path: Path) -> None:
    LastGoodStore(tmp_path / "made" / "on-demand").save(PLAN, IDENTITY)
    kept = LastGoodStore(tmp_path / "made" / "on-demand").load()
    assert kept is not None
    assert kept.plan == PLAN
    assert kept.fence == Fence(IDENTITY, (7, 3))


def test_a_first_start_has_nothing_and_says_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert LastGoodStore(tmp_path).load() is None
    assert logs == []


@pytest.mark.parametrize("position", range(0, 3900, 97))
def test_one_flipped_bit_anywhere_is_reported_and_the_file_ignored(tmp_path: Path, position: int) -> None:
    store = LastGoodStore(tmp_path)
    store.save(PLAN, IDENTITY)
    raw = bytearray((tmp_path / FILE).read_bytes())
    raw[position % len(raw)] ^= 0x01
    (tmp_path / FILE).write_bytes(raw)
    with capture_logs() as logs:
        assert store.load() is None
    assert [entry["event"] for entry in logs] == ["last_good_plan_corrupt"]


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"null", b"[" * 100_000, b"\xff\xfe", b'{"schema":"last-good-plan/2"}']
)
def test_a_file_of_something_else_is_reported_and_ignored(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / FILE).write_bytes(raw)
    with capture_logs() as logs:
        assert LastGoodStore(tmp_path).load() is None
    assert [entry["event"] for entry in logs] == ["last_good_plan_corrupt"]


def test_a_torn_write_leaves_the_plan_before_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LastGoodStore(tmp_path)
    store.save(PLAN, IDENTITY)

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        store.save(PLAN.model_copy(update={"sequence": 4}), IDENTITY)
    kept = store.load()
    assert kept is not None
    assert kept.plan.sequence == 3
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_directory_in_its_place_is_reported_and_ignored(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with capture_logs() as logs:
        assert LastGoodStore(tmp_path).load() is None
    assert [entry["event"] for entry in logs] == ["last_good_plan_unreadable"]
