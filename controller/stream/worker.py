"""The Faust worker: ingest for the source partitions that it owns, planner where it owns the demand partition."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Coroutine, Mapping
from typing import Any, cast

from faust.types import TP

from controller.clock import Clock, ReplayClock, WallClock
from controller.domain.catalog import Catalog
from controller.errors import WorkerError
from controller.kafka import KafkaConnection
from controller.kill_points import passing
from controller.logs import get_logger
from controller.settings import Settings, horizon_policy
from controller.stream.clock_follower import follow_clock
from controller.stream.credentials import faust_credentials
from controller.stream.dead_letters import DeadLetters
from controller.stream.fleet_news import FleetNews, NewsRecord
from controller.stream.ingest import Decoded, Ingest
from controller.stream.memory import PlannerMemory
from controller.stream.news_follower import follow_news
from controller.stream.planner import Planner
from controller.stream.solver import SolverProcess
from controller.stream.stall import LOOK_S, StallWatch
from controller.stream.tables import INGEST_TABLE, PLANNER_TABLE
from controller.stream.transport import Chunk, ChunkApp, ChunkConsumer
from schemas import Topic

log = get_logger(__name__)

_CLOCK_PATIENCE_S = 30.0
"""How long a chunk waits for the replayer's clock to reach its events, before they count as too far ahead."""
_NEVER_COMES_S = 3600.0
"""An event this far ahead of the replayer's clock is wrong, and not worth waiting for."""
_CHUNKS_IN_FLIGHT = 8
_STOP_TIMEOUT_S = 10.0
"""How long the parts of a worker may take to stop, and Faust after them."""


class Worker:
    """Owns the parts of a worker, and tells each what its partitions are.

    Parameters
    ----------
    catalog : of the file; the topic's own takes its place.
    source_partitions : of the source topic, as it is on the broker.
    """

    chunk_topics = frozenset({Topic.REQUEST_RATE.value, Topic.DEMAND.value})

    def __init__(
        self, settings: Settings, catalog: Catalog, connection: KafkaConnection, source_partitions: int
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._clock: Clock = ReplayClock() if settings.clock == "replay" else WallClock()
        self.app = _faust_app(settings, connection, source_partitions)
        self.app.owner = self
        ledgers = self.app.Table(INGEST_TABLE, partitions=source_partitions, value_type=bytes)
        memory = PlannerMemory(self.app.Table(PLANNER_TABLE, partitions=1))
        self._ingest = Ingest(ledgers, self._clock, settings, frozenset(catalog.type_names))
        self._news = FleetNews(catalog, horizon_policy(settings).validity_s, settings.horizon.max_skew_s)
        self._is_news_known = asyncio.Event()
        self._planner = Planner(
            settings,
            self._news,
            self._clock,
            connection,
            source_partitions,
            memory,
            SolverProcess(settings.solver),
        )
        self._owned: set[TP] = set()
        self._processed: dict[TP, int] = {}
        self._waits_for_clock = False
        self._bucket_closed = asyncio.Event()
        self._dead_letters = DeadLetters(_raw_topic(self.app, Topic.DEAD_LETTER))
        self._demand = _raw_topic(self.app, Topic.DEMAND)
        self.app.agent(_raw_topic(self.app, Topic.REQUEST_RATE), name="ingest")(self._count)
        self.app.agent(self._demand, name="demand")(self._observe)

    @property
    def _consumer(self) -> ChunkConsumer:
        return cast(ChunkConsumer, self.app.consumer)

    # Who owns what: called by the transport.

    def resume_offset(self, tp: TP) -> int:
        """Return where a partition is read from: the source from its ledger's offset, demand from its start."""
        return self._ingest.resume(tp.partition) if tp.topic == Topic.REQUEST_RATE else 0

    def partitions_ready(self, ends: Mapping[TP, int]) -> None:
        """Begin with the partitions that are ours now."""
        self._owned = set(ends)
        self._processed.clear()
        for tp, end in ends.items():
            if tp.topic == Topic.DEMAND:
                self._planner.own(end)
        log.info("partitions_ready", partitions=sorted(f"{tp.topic}/{tp.partition}" for tp in ends))

    def partitions_revoked(self, partitions: set[TP]) -> None:
        """Let go of partitions that are being taken away."""
        self._owned -= partitions
        for tp in partitions:
            if tp.topic == Topic.DEMAND:
                self._planner.disown()
            else:
                self._ingest.release(tp.partition)

    # The two agents.

    async def _count(self, stream: Any) -> None:
        # An event of a type that only the topic's catalog has is not to be refused.
        await self._is_news_known.wait()
        async for event in stream.events():
            chunk = cast(Chunk, event.value)
            partition = event.message.partition
            missing_from = self._ingest.missing_from(partition, chunk.start)
            if missing_from is not None:
                log.info("chunk_missing", partition=partition, offset=missing_from, before=chunk.start)
                await self._consumer.read_again(event.message.tp, missing_from)
                continue
            decoded = self._ingest.decode(chunk)
            self._waits_for_clock = True
            await self._wait_for_clock(decoded)
            self._waits_for_clock = False
            watermark_s = self._ingest.watermark_s(partition)
            letters = self._ingest.count(partition, decoded)
            passing("after-count")
            await self._dead_letters.bury(letters)
            passing("before-store")
            self._ingest.store(partition)
            self._processed[event.message.tp] = chunk.offsets[-1] + 1
            passing("after-store")
            if chunk.is_near_end and self._ingest.watermark_s(partition) != watermark_s:
                self._bucket_closed.set()

    async def _observe(self, stream: Any) -> None:
        async for event in stream.events():
            chunk = cast(Chunk, event.value)
            self._planner.take(chunk)
            self._processed[event.message.tp] = chunk.offsets[-1] + 1

    async def _wait_for_clock(self, decoded: Decoded) -> None:
        """Wait until the replayer's clock has reached a chunk's events; the two travel on different topics."""
        if not isinstance(self._clock, ReplayClock):
            return
        while not math.isfinite(self._clock.now()):
            await asyncio.sleep(0.005)  # before the replayer has spoken, every event would be too far ahead
        event_time_s = decoded.events.latest_before_s(self._clock.now() + _NEVER_COMES_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOCK_PATIENCE_S):
                while self._clock.now() + self._settings.horizon.max_skew_s < event_time_s:
                    await asyncio.sleep(0.005)

    # What runs beside Faust.

    async def _take_news(self, record: NewsRecord) -> None:
        """Take in a catalog or a fleet state; from then on ingest counts the types of the catalog in force."""
        before = self._news.catalog
        letter = self._news.take(record)
        if self._news.catalog is not before:
            self._ingest.know(frozenset(self._news.catalog.type_names))
        if letter is not None:
            await self._dead_letters.bury([letter])

    async def _plan(self) -> None:
        await self._is_news_known.wait()
        await self._planner.run()

    async def _publish_demand(self) -> None:
        """Publish the totals that changed, and all of them from time to time: silence is news, too.

        A plan may wait for a bucket to close, so that is told at once, but by those who have caught up only.
        """
        ingest = self._settings.ingest
        loop = asyncio.get_running_loop()
        refreshed = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ingest.snapshot_interval_s):
                    await self._bucket_closed.wait()
            self._bucket_closed.clear()
            for tp in list(self._owned):
                if tp.topic == Topic.REQUEST_RATE:
                    # Counted to its end, not merely fetched: a chunk may still wait to be counted.
                    is_at_end = self._consumer.is_at_end(tp, self._ingest.next_offset(tp.partition))
                    self._ingest.note_end(tp.partition, is_at_end=is_at_end)
            is_due = loop.time() - refreshed >= ingest.refresh_interval_s
            refreshed = loop.time() if is_due else refreshed
            for partition, snapshot in list(self._ingest.snapshots(everything=is_due)):
                passing("before-demand")
                await self._demand.send(key=str(partition).encode(), value=snapshot, partition=0)
                passing("after-demand")

    async def _watch_for_stalls(self) -> None:
        """End with an error where something is there to be read, and nothing is read or ever will be."""
        watch, loop = StallWatch(self._settings.kafka.stall_timeout_s), asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            reason = self._consumer.why_out_of_group()
            if reason is not None:
                raise WorkerError(f"this worker fell out of its group: {reason}: a new start is needed")
            behind: dict[str, int] = {}
            for tp in [tp for tp in self._consumer.assignment() if tp.topic in self.chunk_topics]:
                processed = self._processed.get(tp)
                if not self._waits_for_clock and await self._consumer.is_behind(tp, processed):
                    behind[f"{tp.topic}/{tp.partition}"] = processed or 0
            watch.look(loop.time(), behind)

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM, or until a part fails; then stop everything.

        Raises
        ------
        WorkerError : a part failed, or would not stop. Threads of it may still hang.
        """
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGUSR1, self._planner.ask)
        told = asyncio.create_task(stopping.wait(), name="signal")
        starting = asyncio.create_task(self.app.start(), name="start")
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        parts = {starting}
        if starting.done() and not starting.exception():
            parts = {asyncio.create_task(part, name=name) for name, part in self._parts().items()}
            await asyncio.wait({*parts, told}, return_when=asyncio.FIRST_COMPLETED)
        failed = next((part for part in parts if part.done()), None)
        failure = None if failed is None else failed.exception() or self.app.crash_reason
        try:
            await self._stop({*parts, told})
        except WorkerError as error:
            if failed is None:
                raise
            log.warning("worker_hangs", error=str(error))
        if isinstance(failure, WorkerError):
            raise failure
        if failed is not None:
            raise WorkerError(f"the worker's {failed.get_name()} failed: {failure!r}") from failure

    def _parts(self) -> dict[str, Coroutine[Any, Any, Any]]:
        parts: dict[str, Coroutine[Any, Any, Any]] = {
            "planner": self._plan(),
            "fleet news": follow_news(self._connection, self._take_news, self._is_news_known),
            "demand": self._publish_demand(),
            "stall watch": self._watch_for_stalls(),
            "faust": self.app.wait_until_stopped(),
        }
        if isinstance(self._clock, ReplayClock):
            parts["clock"] = follow_clock(self._connection, self._clock)
        return parts

    async def _stop(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Stop the parts, then Faust. Both may swallow that they are cancelled, so nothing here waits for their end."""
        for task in tasks:
            task.cancel()
        # Gathered, so that asyncio does not complain later of what they raise while they end.
        await asyncio.wait({asyncio.gather(*tasks, return_exceptions=True)}, timeout=_STOP_TIMEOUT_S)
        stopping = asyncio.create_task(self.app.stop(), name="the stop of Faust")
        await asyncio.wait({stopping}, timeout=_STOP_TIMEOUT_S)
        hanging = sorted(task.get_name() for task in {*tasks, stopping} if not task.done())
        if hanging:
            raise WorkerError(f"the worker did not stop within {_STOP_TIMEOUT_S:g} s: {', '.join(hanging)}")
        stopping.result()


def _faust_app(settings: Settings, connection: KafkaConnection, source_partitions: int) -> ChunkApp:
    """Make the app with the defaults that Faust ought to have had (the reasons: docs/operations.md)."""
    kafka = settings.kafka
    return ChunkApp(
        settings.app_id,
        broker=[f"kafka://{server.strip()}" for server in connection.bootstrap_servers.split(",")],
        broker_credentials=faust_credentials(connection),
        store="memory://",
        datadir=settings.data_dir,
        topic_partitions=source_partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        broker_rebalance_timeout=kafka.session_timeout_s,
        broker_request_timeout=max(kafka.request_timeout_s, kafka.session_timeout_s + 1.0),
        broker_commit_interval=kafka.commit_interval_s,
        producer_request_timeout=kafka.request_timeout_s,
        producer_acks=-1,
        stream_buffer_maxsize=_CHUNKS_IN_FLIGHT,
        stream_wait_empty=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )


def _raw_topic(app: ChunkApp, topic: Topic) -> Any:
    return app.topic(
        topic.value,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )
