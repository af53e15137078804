"""Bugs of a worker, each a patch that is put in before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from controller.demand.counting import PartitionLedger, Record
from controller.stream.dead_letters import DeadLetters
from controller.stream.transport import ChunkConsumer

EVERY = 400
"""A record in so many is skipped, or counted twice."""


def skip_an_event() -> None:
    """Leave out a record now and then, and say nothing of it."""
    _tamper(0)


def count_one_twice() -> None:
    """Count a record twice now and then."""
    _tamper(2)


def _tamper(times: int) -> None:
    count = 0

    def tampered(records: Iterable[Record]) -> Iterator[Record]:
        nonlocal count
        for record in records:
            count += 1
            yield from [record] * (1 if count % EVERY else times)

    stock = PartitionLedger.add

    def add(self: PartitionLedger, records: Iterable[Record]) -> None:
        stock(self, tampered(records))

    PartitionLedger.add = add  # type: ignore[method-assign]


def skip_the_seek() -> None:
    """Read on, after a rebalance, where the group's commits say, and take what lies before for a gap."""
    stock = ChunkConsumer.perform_seek

    async def nothing(*_: Any) -> None:
        """Seek nowhere."""

    async def perform_seek(self: Any) -> None:
        self.seek = nothing
        try:
            await stock(self)
        finally:
            del self.seek
        self._asked_again.update(self._sought)

    ChunkConsumer.perform_seek = perform_seek  # type: ignore[method-assign]


def lose_a_letter() -> None:
    """Refuse records, and bury none."""

    async def bury(self: DeadLetters, letters: list[Any]) -> None:
        """Send nothing."""

    DeadLetters.bury = bury  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "skip-an-event": skip_an_event,
    "count-one-twice": count_one_twice,
    "skip-the-seek": skip_the_seek,
    "lose-a-letter": lose_a_letter,
}
