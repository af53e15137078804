"""Dead letters: sent again until the broker has them, and handed over without a crowd."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from controller.stream import dead_letters
from controller.stream.dead_letters import DeadLetters
from schemas import DeadLetter


class Producer:
    """A topic whose producer has room for one letter at a time, and which loses what it is told to lose."""

    def __init__(self, loses: dict[bytes, int], raises: dict[bytes, int]) -> None:
        self.loses, self.raises = loses, raises
        self.arrived: list[bytes] = []
        self.waiting = 0
        self.most_waiting = 0

    async def send(self, *, key: bytes, **_: bytes) -> asyncio.Future[Any]:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        if self.raises.get(key, 0):
            self.raises[key] -= 1
            raise KafkaTimeoutError
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.loses.get(key, 0):
            self.loses[key] -= 1
            sent.set_exception(KafkaTimeoutError())
        else:
            self.arrived.append(key)
            sent.set_result(None)
        return sent


def letters(count: int) -> list[DeadLetter]:
    return [DeadLetter.of("invalid", "why", "source", 0, offset, b"{") for offset in range(count)]


async def test_letters_that_fail_are_sent_again_and_those_that_arrived_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letters, "_RETRY_S", 0.0)
    producer = Producer(loses={b"source/0/1": 2}, raises={b"source/0/2": 1})
    await DeadLetters(producer).bury(letters(4))
    assert producer.arrived == [f"source/0/{offset}".encode() for offset in (0, 3, 2, 1)]


async def test_letters_do_not_crowd_the_producer_however_many_there_are() -> None:
    producer = Producer({}, {})
    await DeadLetters(producer).bury(letters(1000))
    assert len(producer.arrived) == 1000
    assert producer.most_waiting == 1


async def test_an_error_that_is_no_matter_of_the_brokers_is_not_repeated_for_ever() -> None:
    class Broken:
        async def send(self, **_: bytes) -> asyncio.Future[Any]:
            sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            sent.set_exception(ValueError("a bug"))
            return sent

    with pytest.raises(ValueError, match="a bug"):
        await DeadLetters(Broken()).bury(letters(1))
