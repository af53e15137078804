"""Tells a worker that stands still from one that has nothing to do."""

from __future__ import annotations

from collections.abc import Mapping

from controller.errors import WorkerError

LOOK_S = 1.0
"""Between looks."""


class StallWatch:
    """Watches how far partitions are processed that have something to read.

    Faust and aiokafka are known to stop consuming without a word, after a rebalance or a broker's death. Starting anew
    mends that, and costs no count.

    Parameters
    ----------
    timeout_s : how long a partition may stand still.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._looked_s: float | None = None
        self._standing: dict[str, tuple[int, float]] = {}

    def look(self, now_s: float, behind: Mapping[str, int]) -> None:
        """Take note of the partitions that have something to read, and of how far each is processed.

        A look that comes late adds no more than two looks: a process that was stopped for long did not stand still.

        Raises
        ------
        WorkerError : one stands still for too long.
        """
        passed_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, 2 * LOOK_S)
        self._looked_s = now_s
        standing = {}
        for partition, processed in behind.items():
            before, stood_s = self._standing.get(partition, (None, 0.0))
            standing[partition] = (processed, stood_s + passed_s if processed == before else 0.0)
        self._standing = standing
        for partition, (processed, stood_s) in standing.items():
            if stood_s >= self._timeout_s:
                raise WorkerError(
                    f"{partition} stands still at offset {processed}, with more to read, for {stood_s:.0f} s: "
                    "a new start is needed"
                )
