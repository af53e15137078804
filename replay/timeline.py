"""What is sent where and when: requests with heartbeats among them, in order of time, dealt out to partitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from replay.event_bytes import heartbeat_bytes, request_bytes, source_of
from replay.rows import Request


class Entry(NamedTuple):
    """One record of the source topic. ``query_type`` is that of a request, and None for a heartbeat."""

    time_s: float
    partition: int
    value: bytes
    query_type: str | None


def timeline(
    requests: Iterable[Request],
    num_partitions: int,
    query_types: Sequence[str] = (),
    heartbeat_s: float = 60.0,
    drain_s: float = 0.0,
) -> Iterator[Entry]:
    """Yield every record of a replay.

    Requests go to the partitions in turn, in the order in which they are given. From the first request on,
    every ``heartbeat_s``, each query type and each partition gets a heartbeat; which type's goes to which partition
    changes from one time to the next. A heartbeat comes before a request of the same moment.

    Parameters
    ----------
    requests : sorted by time. One that is not is sent where it stands, as a late event would be.
    num_partitions : of the source topic.
    query_types : those that are proved idle where no request asks for them; with none there are no heartbeats.
    heartbeat_s : time between heartbeats; 0 for none.
    drain_s : how long the sources stay alive, and say so, after the last request.
    """
    sources = [source_of(partition) for partition in range(num_partitions)]
    beat_due_s, beat, partition = math.inf, 0, 0
    first_s = last_s = 0.0

    def beats(until_s: float) -> Iterator[Entry]:
        nonlocal beat, beat_due_s
        while beat_due_s <= until_s:
            for turn in range(max(len(query_types), num_partitions)):
                to = (beat + turn) % num_partitions
                query_type = query_types[turn % len(query_types)]
                yield Entry(beat_due_s, to, heartbeat_bytes(beat_due_s, query_type, sources[to]), None)
            beat += 1
            beat_due_s = first_s + beat * heartbeat_s

    for n, request in enumerate(requests):
        if n == 0 and query_types and heartbeat_s > 0:
            first_s = beat_due_s = request.time_s
        yield from beats(request.time_s)
        yield Entry(request.time_s, partition, request_bytes(request, sources[partition]), request.query_type)
        partition = partition + 1 if partition + 1 < num_partitions else 0
        last_s = request.time_s
    yield from beats(last_s + drain_s)
