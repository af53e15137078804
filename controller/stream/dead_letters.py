"""Sends what was refused to the dead-letter topic, and takes no less than the broker's word for it."""

from __future__ import annotations

import asyncio
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
            sent = await asyncio.gather(*map(self._send, letters))
            letters = [letter for letter, is_there in zip(letters, sent, strict=True) if not is_there]
            if letters:
                await asyncio.sleep(_RETRY_S)

    async def _send(self, letter: DeadLetter) -> bool:
        key = f"{letter.topic}/{letter.partition}/{letter.offset}"
        try:
            await (await self._topic.send(key=key.encode(), value=letter.encode()))
        except (KafkaError, ProducerSendError) as error:
            log.warning("dead_letter_repeated", letter=key, error=str(error))
            return False
        return True
