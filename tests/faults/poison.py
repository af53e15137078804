"""A flood of malformed input, with good events in between.

One worker takes all batches of a world. Each refusal must be in the dead-letter topic with its reason and its bytes,
each good event in the counts, and the worker's memory must stay where it was when the flood began.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.malformed import KINDS, good, malformed
from tests.faults.trial import Case, Outcome
from tests.faults.world import PARTITIONS, FaultWorld
from tests.worker_harness import WorkerProcess, until

BATCHES, BATCH = 52, 20_000
_PIECE = 500
_GOOD_SHARE = 0.02
_LONGEST_RAW = 64 * 1024
_MOST_GROWTH_MB = 50.0
_ANSWERS_WITHIN_S = 1.0
"""Beyond what a good event takes at rest."""
_PLACED = tuple[int, int]


class _Expected:
    """The malformed records that are on their way, and the letters that came of them."""

    def __init__(self) -> None:
        self.open: dict[_PLACED, tuple[str, bytes]] = {}
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._early: dict[_PLACED, dict[str, Any]] = {}

    def expect(self, place: _PLACED, name: str, raw: bytes) -> None:
        self.open[place] = name, raw
        if place in self._early:
            self.take(self._early.pop(place))

    def take(self, letter: dict[str, Any]) -> None:
        place = letter["partition"], letter["offset"]
        if place not in self.open:
            self._early[place] = letter
            return
        name, raw = self.open.pop(place)
        self.answered[f"{name}: {letter['reason']}"] += 1
        if letter["reason"] not in KINDS[name][1]:
            self.wrong.append(
                f"{name} at {place} was refused as {letter['reason']}: {letter['detail'][:200]}"
            )
        kept = base64.b64decode(letter["raw_base64"])
        if (kept, letter["raw_bytes"]) != (raw[:_LONGEST_RAW], len(raw)):
            self.wrong.append(f"the letter of {name} at {place} is of something else")

    def unasked(self) -> list[str]:
        return [f"a dead letter of {place}, which is no refusal" for place in self._early]


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    outcome.fault = f"{BATCH:,} inputs a trial, one in {1 / _GOOD_SHARE:.0f} of them good"
    (worker,) = await world.gather(1)
    expected = _Expected()
    world.watch.on_letter = expected.take
    before_mb = world.notes.setdefault("rss_mb", _rss_mb(worker))
    await world.load.tell_the_time()
    at_rest_s = await _one_good(world, dice)
    began_s, before = time.monotonic(), _sums(world)
    sound, peak_mb = 0, 0.0
    for _ in range(BATCH // _PIECE):
        sound += await _send_piece(world, dice, expected)
        await until(lambda: world.in_flight() < 20 * _PIECE, "the worker to keep up", alive=[worker])
        peak_mb = max(peak_mb, _rss_mb(worker))
    await world.settle()
    flooded_s = time.monotonic() - began_s
    # What we have not read yet keeps us, not the worker, from the next event.
    await until(lambda: not expected.open, "every dead letter", alive=[worker])
    answer_s = await _one_good(world, dice)
    after = _sums(world)
    outcome.landed = "refused"
    outcome.recovery_s = answer_s
    outcome.wrong += expected.wrong + expected.unasked()
    if answer_s > at_rest_s + _ANSWERS_WITHIN_S:
        outcome.wrong.append(
            f"a good event after the flood took {answer_s:.1f} s, {at_rest_s:.1f} s before it"
        )
    for what, found, wanted in (
        ("refused", after["refused"] - before["refused"], BATCH - sound),
        ("taken", after["taken"] - before["taken"], sound + 1),
    ):
        outcome.lost += max(0, wanted - found)
        outcome.double += max(0, found - wanted)
        if found != wanted:
            outcome.wrong.append(f"{found} {what}, not {wanted}")
    if peak_mb - before_mb > _MOST_GROWTH_MB:
        outcome.wrong.append(f"memory grew by {peak_mb - before_mb:.0f} MB")
    outcome.detail = {
        "refused": BATCH - sound,
        "per_s": round(BATCH / flooded_s),
        "rss_mb": round(peak_mb),
        "rss_growth_mb": round(peak_mb - before_mb, 1),
        "reasons": dict(expected.answered),
    }
    world.watch.unchecked.clear()


async def _send_piece(world: FaultWorld, dice: Random, expected: _Expected) -> int:
    """Send some records; return how many of them are good."""
    named: list[str | None] = []
    records: list[tuple[int, bytes]] = []
    for _ in range(_PIECE):
        name, raw = malformed(dice, world.load.reached_s)
        if dice.random() < _GOOD_SHARE:
            name, raw = "", json.dumps(good(dice, world.load.reached_s)).encode()
        named.append(name or None)
        records.append((dice.randrange(PARTITIONS), raw))
    offsets = await world.load.send(records)
    for name, (partition, raw), offset in zip(named, records, offsets, strict=True):
        if name is not None:
            expected.expect((partition, offset), name, raw)
    return named.count(None)


async def _one_good(world: FaultWorld, dice: Random) -> float:
    """Send one good event; return how long it takes to be counted, s, by the worker's own time stamp."""
    began_s = time.time()
    await world.load.send([(0, json.dumps(good(dice, world.load.reached_s)).encode())])
    await world.settle()
    return world.watch.risen_s[0] - began_s


def _sums(world: FaultWorld) -> dict[str, int]:
    newest = world.watch.newest.values()
    return {
        "refused": sum(snapshot["refused"] for snapshot in newest),
        "taken": sum(snapshot["counted"] + snapshot["late"] + snapshot["duplicates"] for snapshot in newest),
    }


def _rss_mb(worker: WorkerProcess) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024.0
