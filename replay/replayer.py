"""Plays requests into Kafka, at any speed, with the times that they had.

Time goes in steps. Of each step the clock is told first: ``ClockTick(now = end of the step)`` is acknowledged before
any record of the step is sent, and every record of it is acknowledged before the next tick. So no event is ahead of
the clock, and the clock is never more than one step ahead of what was sent.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from controller.errors import InputError
from controller.logs import get_logger
from replay.event_bytes import source_of, tick_bytes
from replay.record_log import KafkaLog, RecordLog
from replay.rows import Request
from replay.timeline import Entry, timeline
from schemas import Topic

log = get_logger(__name__)

_LONGEST_STEP_S = 60.0
_LONGEST_CATCH_UP_S = 1.0
_CHUNK_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    ``time_s`` is the trace's time, that of the clock, up to which all is sent; ``rate_per_s`` counts records per second
    since the start.
    """

    sent: int
    time_s: float
    wall_s: float
    rate_per_s: float


@dataclass(slots=True)
class ReplayReport:
    """What a replay wrote to the source topic: records that were acknowledged, and no others.

    ``sent`` counts records, ``events`` those of them that are requests, ``by_type`` requests per query type, ``bytes``
    what the messages hold before compression. ``first_s`` and ``last_s`` are times of requests, None without any. Not
    ``is_complete``: it was cancelled.
    """

    sent: int = 0
    events: int = 0
    heartbeats: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    first_s: float | None = None
    last_s: float | None = None
    wall_s: float = 0.0
    is_complete: bool = False

    def add(self, entries: Iterable[Entry]) -> None:
        """Count what was acknowledged."""
        for time_s, _, value, query_type in entries:
            self.sent += 1
            self.bytes += len(value)
            if query_type is None:
                self.heartbeats += 1
                continue
            self.events += 1
            self.by_type[query_type] = self.by_type.get(query_type, 0) + 1
            self.first_s = time_s if self.first_s is None else self.first_s
            self.last_s = time_s


class Replayer:
    """Plays requests once: ``report = await Replayer("localhost:9092", speed=600).run(requests)``.

    Parameters
    ----------
    bootstrap_servers : ``host:port``, several separated by commas.
    speed : seconds of the trace per second; ``math.inf`` for as fast as the broker takes it.
    heartbeat_s : seconds of the trace between heartbeats; 0 for none.
    query_types : those that heartbeats speak for.
    drain_s : how long clock and heartbeats go on after the last request, s of the trace.
    on_progress : called after every step.
    step_wall_s : length of a step, s of wall time, unless that is more than a minute of the trace: the clock is never
        further ahead of what was sent.
    connect_timeout_s : how long the broker may take to answer at first.
    security : aiokafka's own options for TLS and SASL.
    hold : awaited before each step: here a slow reader can be waited for.
    record_log : written to instead of Kafka.
    sleep, monotonic : the machine's time.

    Raises
    ------
    InputError
        The speed or a duration is not in its range.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        speed: float,
        heartbeat_s: float = 60.0,
        query_types: Sequence[str] = (),
        drain_s: float = 0.0,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        step_wall_s: float = 0.05,
        connect_timeout_s: float = 10.0,
        security: Mapping[str, Any] = MappingProxyType({}),
        hold: Callable[[], Awaitable[None]] | None = None,
        record_log: RecordLog | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0:
            raise InputError("speed", "must be above 0", speed)
        if not 0 < step_wall_s < math.inf:
            raise InputError("step_wall_s", "must be finite and above 0", step_wall_s)
        for name, value in (("heartbeat_s", heartbeat_s), ("drain_s", drain_s)):
            if not 0 <= value < math.inf:
                raise InputError(name, "must be finite and not negative", value)
        self._speed = speed
        self._heartbeat_s = heartbeat_s
        self._query_types = tuple(query_types)
        self._drain_s = drain_s
        self._on_progress = on_progress
        self._step_s = min(step_wall_s * speed, _LONGEST_STEP_S)
        self._step_wall_s = self._step_s / speed
        self._hold = hold
        self._log = record_log or KafkaLog(bootstrap_servers, connect_timeout_s, security=security)
        self._sleep = sleep
        self._monotonic = monotonic

    async def run(self, requests: Iterable[Request]) -> ReplayReport:
        """Send every request, then let clock and heartbeats go on for ``drain_s``.

        A cancellation ends it between two steps, and the report of what was sent until then is returned.

        Parameters
        ----------
        requests : sorted by time. One that is not is sent where it stands.

        Raises
        ------
        BrokerError
            The broker is out of reach, lacks a topic, or stopped acknowledging.
        InputError
            A query type is no name that a message may carry.
        """
        report = ReplayReport()
        started_s = self._monotonic()
        try:
            num_partitions = await self._log.open()
            await self._play(
                timeline(requests, num_partitions, self._query_types, self._heartbeat_s, self._drain_s),
                report,
                started_s,
            )
            report.is_complete = True
        except asyncio.CancelledError:
            log.info("replay_cancelled", sent=report.sent)
            if task := asyncio.current_task():
                task.uncancel()  # answered by the report
        finally:
            await self._log.close()
            report.wall_s = self._monotonic() - started_s
        return report

    async def _play(self, rest: Iterator[Entry], report: ReplayReport, started_s: float) -> None:
        pending = next(rest, None)
        if pending is None:
            return
        first_s = last_s = pending.time_s
        pace = _Pace(self._step_wall_s, self._sleep, self._monotonic)
        step = 0
        while pending is not None or first_s + step * self._step_s < last_s + self._drain_s:
            if self._hold is not None:
                await self._hold()
            step += 1
            # Not a running sum: rounding would add up over a day of steps.
            end_s = first_s + step * self._step_s
            sending = asyncio.ensure_future(self._send_step(end_s, pending, rest, report))
            try:
                pending = await asyncio.shield(sending)
            except asyncio.CancelledError:
                await sending  # a step that was begun is ended, so that the report is exact
                raise
            last_s = last_s if report.last_s is None else report.last_s
            if self._on_progress is not None:
                wall_s = self._monotonic() - started_s
                rate_per_s = report.sent / wall_s if wall_s > 0 else 0.0
                self._on_progress(Progress(report.sent, end_s, wall_s, rate_per_s))
            await pace.until(step)

    async def _send_step(
        self, end_s: float, pending: Entry | None, rest: Iterator[Entry], report: ReplayReport
    ) -> Entry | None:
        """Move the clock to ``end_s``, send all that lies before it, and return the first that does not."""
        await self._log.append(Topic.CLOCK, 0, [tick_bytes(end_s, self._speed)], None)
        chunk: list[Entry] = []
        while pending is not None and pending.time_s < end_s:
            chunk.append(pending)
            if len(chunk) == _CHUNK_RECORDS:
                await self._send(chunk, report)
                chunk = []
            pending = next(rest, None)
        if chunk:
            await self._send(chunk, report)
        return pending

    async def _send(self, chunk: Sequence[Entry], report: ReplayReport) -> None:
        by_partition: dict[int, list[Entry]] = {}
        for entry in chunk:
            by_partition.setdefault(entry.partition, []).append(entry)
        await asyncio.gather(
            *(
                self._log.append(
                    Topic.REQUEST_RATE,
                    partition,
                    [entry.value for entry in own],
                    source_of(partition).encode(),
                )
                for partition, own in by_partition.items()
            )
        )
        report.add(chunk)


class _Pace:
    """Ends the n-th step no sooner than n steps after the start.

    A step that took too long is made up for by the next ones, up to a second of it: what is behind further than that
    stays behind, so that a long stall is not followed by a rush at a speed that nobody asked for.
    """

    def __init__(
        self, step_s: float, sleep: Callable[[float], Awaitable[None]], monotonic: Callable[[], float]
    ) -> None:
        self._step_s = step_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._start_s = monotonic()

    async def until(self, step: int) -> None:
        """Sleep until step ``step`` is due to end."""
        early_s = self._start_s + step * self._step_s - self._monotonic()
        if early_s > 0:
            await self._sleep(early_s)
        else:
            self._start_s += max(0.0, -early_s - _LONGEST_CATCH_UP_S)
