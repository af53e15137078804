"""Follows what workers say, as it comes, and keeps no more of it than the audit needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.worker_harness import CLAIMS, DEAD_LETTERS, DEMAND, PLANS, until

OUTCOMES = ("counted", "late", "refused", "duplicates")
_FOLLOWED = [TopicPartition(topic, 0) for topic in (DEMAND, PLANS, CLAIMS, DEAD_LETTERS)]


@dataclass(frozen=True)
class Tallies:
    """What one snapshot says of all records below its offset."""

    partition: int
    next_offset: int
    outcomes: tuple[int, ...]
    skipped: int


@dataclass
class Watch:
    """All that was said on the topics that workers write, since the world began.

    Parameters
    ----------
    on_letter : given each dead letter.

    Attributes
    ----------
    risen_s : partition -> when a worker first told of its newest offset, s since the epoch, however late that is read.
    """

    bootstrap: str
    on_letter: Callable[[dict[str, Any]], None]
    newest: dict[int, dict[str, Any]] = field(default_factory=dict)
    risen_s: dict[int, float] = field(default_factory=dict)
    unchecked: list[Tallies] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    claims: int = 0
    _reached: dict[TopicPartition, int] = field(default_factory=lambda: dict.fromkeys(_FOLLOWED, 0))

    async def follow(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, fetch_max_wait_ms=50)
        await consumer.start()
        try:
            consumer.assign(_FOLLOWED)
            await consumer.seek_to_beginning()
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    for record in records:
                        self._take(tp.topic, record.value, record.timestamp / 1000.0)
                    self._reached[tp] = records[-1].offset + 1
        finally:
            await consumer.stop()

    async def catch_up(self) -> None:
        """Wait until everything that is on the topics now was seen: one topic may be ahead of another here."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            consumer.assign(_FOLLOWED)
            ends = await consumer.end_offsets(_FOLLOWED)
        finally:
            await consumer.stop()
        await until(
            lambda: all(self._reached[tp] >= end for tp, end in ends.items()), "the watch to catch up"
        )

    def _take(self, topic: str, raw: bytes, told_s: float) -> None:
        if topic == CLAIMS:
            self.claims += 1
            return
        said = json.loads(raw)
        if topic == PLANS:
            self.plans.append(said)
        elif topic == DEAD_LETTERS:
            self.on_letter(said)
        else:
            self._take_snapshot(said, told_s)

    def _take_snapshot(self, said: dict[str, Any], told_s: float) -> None:
        partition, next_offset = said["partition"], said["next_offset"]
        outcomes = tuple(said[name] for name in OUTCOMES)
        self.unchecked.append(Tallies(partition, next_offset, outcomes, said["skipped"]))
        known = self.newest.get(partition)
        if known is None or next_offset > known["next_offset"]:
            self.risen_s[partition] = told_s
        if known is None or next_offset >= known["next_offset"]:
            self.newest[partition] = said

    def accounted(self) -> int:
        """Return how many source records the newest snapshots account for."""
        return sum(snapshot["next_offset"] for snapshot in self.newest.values())
