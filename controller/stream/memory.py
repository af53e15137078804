"""What the planner remembers between ticks, in a Faust table of a few keys: parts that each fit in a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_KEY = "planner/{}"
_PARTITION = 0


class PlannerMemory:
    """A table's values, written from outside of any stream.

    Faust allows a table to be written only while an event of its partition is being processed, or with its partitioner,
    which fails before the producer has heard of the changelog. There is one partition, and it is known: so the
    changelog is written by name.

    Parameters
    ----------
    table : a ``faust.Table`` of one partition.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def load(self) -> list[dict[str, Any]]:
        """Return the parts that were stored last; none before the first time."""
        parts: list[dict[str, Any]] = []
        while (part := self._table.data.get(_KEY.format(len(parts)))) is not None:
            parts.append(part)
            if len(parts) == part["parts"]:
                break
        return parts

    def store(self, parts: Sequence[dict[str, Any]]) -> None:
        """Replace what is remembered."""
        for number, part in enumerate(parts):
            key, value = _KEY.format(number), {**part, "parts": len(parts)}
            self._table.data[key] = value
            self._table.send_changelog(_PARTITION, key, value)
