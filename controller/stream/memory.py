"""What the planner remembers between ticks, in a Faust table of one key."""

from __future__ import annotations

from typing import Any

_KEY = "planner"
_PARTITION = 0


class PlannerMemory:
    """A table's one value, written from outside of any stream.

    Faust allows a table to be written only while an event of its partition is being processed, or with its partitioner,
    which fails before the producer has heard of the changelog. There is one partition, and it is known: so the
    changelog is written by name.

    Parameters
    ----------
    table : a ``faust.Table`` of one partition.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def load(self) -> dict[str, Any] | None:
        """Return what was stored last; None before the first time."""
        stored: dict[str, Any] | None = self._table.data.get(_KEY)
        return stored

    def store(self, value: dict[str, Any]) -> None:
        """Replace what is remembered."""
        self._table.data[_KEY] = value
        self._table.send_changelog(_PARTITION, _KEY, value)
