"""Names of the worker's tables, and the topics that must exist for it before it starts. Needs no Faust."""

from __future__ import annotations

INGEST_TABLE = "ingest"
PLANNER_TABLE = "planner"


def table_partitions(source_partitions: int) -> dict[str, int]:
    """Return the partitions of each table's changelog."""
    return {INGEST_TABLE: source_partitions, PLANNER_TABLE: 1}
