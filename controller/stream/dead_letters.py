"""Sends what was refused to the dead-letter topic, and takes no less than the broker's word for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from controller.logs import get_logger
from schemas import DeadLetter

log = get_logger(__name__)

_RETRY_S = 1.0


class DeadLetters:
    """The dead-letter topic.

    Parameters
    ----------
    topic : a ``faust.Topic`` of raw bytes.
    """

    def __init__(self, topic: Any) -> None:
        self._topic = topic

    async def bury(self, letters: list[DeadLetter]) -> None:
        """Send letters, and return when the broker has them all; those that fail are sent again.

        The state that counts a record as refused is stored after this, so a worker that dies in between counts it, and
        sends its letter, once more. The other way round, the letter would be lost.
        """
        while letters:
            # Handed over one after another: of many that wait for room in a batch, each one that finds some wakes all.
            on_their_way = [await self._hand_over(letter) for letter in letters]
            outcomes = await asyncio.gather(*on_their_way, return_exceptions=True)
            letters = [
                letter for letter, found in zip(letters, outcomes, strict=True) if _failed(letter, found)
            ]
            if letters:
                await asyncio.sleep(_RETRY_S)

    async def _hand_over(self, letter: DeadLetter) -> Awaitable[Any]:
        """Wait until the producer has room for a letter; return what tells of its arrival."""
        try:
            arrival: Awaitable[Any] = await self._topic.send(
                key=_name(letter).encode(), value=letter.encode()
            )
        except (KafkaError, ProducerSendError) as error:
            arrival = asyncio.get_running_loop().create_future()
            arrival.set_exception(error)
        return arrival


def _failed(letter: DeadLetter, outcome: object) -> bool:
    """Whether a letter is to be sent again; raises what is no matter of the broker's."""
    if not isinstance(outcome, BaseException):
        return False
    if not isinstance(outcome, (KafkaError, ProducerSendError)):
        raise outcome
    log.warning("dead_letter_repeated", letter=_name(letter), error=str(outcome))
    return True


def _name(letter: DeadLetter) -> str:
    return f"{letter.topic}/{letter.partition}/{letter.offset}"
