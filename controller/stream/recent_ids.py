"""Event ids within the last records of a partition: what makes a sender's repeat a duplicate."""

from __future__ import annotations

from collections import deque


class RecentIds:
    """The ids of the last ``window`` records, by offset; its memory is bounded by that and nothing else.

    Whether a record is a duplicate depends on the records before it in the partition only, so it is the same however
    often they are read.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._offset_of: dict[str, int] = {}
        self._order: deque[tuple[int, str]] = deque()

    def seen(self, event_id: str, offset: int) -> bool:
        """Remember an id; return whether it stood within the last ``window`` records before ``offset``."""
        while self._order and self._order[0][0] < offset - self._window:
            old_offset, old_id = self._order.popleft()
            if self._offset_of.get(old_id) == old_offset:
                del self._offset_of[old_id]
        found = event_id in self._offset_of
        self._offset_of[event_id] = offset
        self._order.append((offset, event_id))
        return found

    def __len__(self) -> int:
        return len(self._order)
