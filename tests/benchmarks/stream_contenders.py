"""The contenders of ``make bench-stream``, each in a process of its own: reads the same topic, says how fast it was.

``python -m tests.benchmarks.stream_contenders NAME BOOTSTRAP RECORDS LIMIT_S`` ends after so many records or so long,
and prints one JSON object. Time runs from the first records that are there to the last that are done.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from schemas import Topic

if TYPE_CHECKING:
    from controller.stream.event_decoder import EventDecoder

SOURCE = Topic.REQUEST_RATE.value
PARTITIONS = 4
QUERY_TYPES = ("chat", "code", "batch")
BUCKET_S = 10.0
POLL_RECORDS = 20_000


def peak_mb(process: int | str) -> float:
    """Return the most resident memory that a process has had, MB. (``ru_maxrss`` would be its parent's, too.)"""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class Stopwatch:
    """Counts records, and ends the process when there were enough, or when it took too long."""

    def __init__(self, records: int, limit_s: float) -> None:
        self._wanted, self._limit_s = records, limit_s
        self._done = 0
        self._started = self._cpu_started = 0.0

    def begin(self) -> None:
        """The first records are there."""
        if not self._started:
            self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def add(self, records: int) -> None:
        """So many more are done."""
        self._done += records
        if self._done >= self._wanted or time.perf_counter() - self._started > self._limit_s:
            self.end()

    def end(self) -> NoReturn:
        """Say how it went."""
        said = {
            "records": self._done,
            "seconds": time.perf_counter() - self._started,
            "cpu_s": time.process_time() - self._cpu_started,
            "peak_mb": peak_mb("self"),
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        os._exit(0)  # a consumer in mid-flight has nothing to say any more


def decoder() -> EventDecoder:
    """Return the worker's own. Imported here, since the environment of Quix Streams cannot have all that it needs."""
    from controller.stream.event_decoder import EventDecoder

    return EventDecoder(max_bytes=16_384, bucket_s=BUCKET_S, query_types=QUERY_TYPES)


def aiokafka_getmany(bootstrap: str, watch: Stopwatch) -> None:
    """aiokafka's ``getmany``, and the worker's decoder; nothing is counted, stored or committed."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TopicPartition(SOURCE, number) for number in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        decode = decoder().decode
        while True:
            found = await consumer.getmany(timeout_ms=1000, max_records=POLL_RECORDS)
            watch.begin()
            for records in found.values():
                decode([record.value for record in records])
                watch.add(len(records))

    asyncio.run(read())


def confluent_consume(bootstrap: str, watch: Stopwatch) -> None:
    """confluent-kafka's ``consume``, and the worker's decoder; nothing is counted, stored or committed."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(SOURCE, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    decode = decoder().decode
    while True:
        found = consumer.consume(POLL_RECORDS, timeout=0.2)
        if found:
            watch.begin()
            decode([message.value() for message in found])
            watch.add(len(found))


def stock_faust(bootstrap: str, watch: Stopwatch) -> None:
    """Faust as its documentation has it: a typed topic, and a tumbling table by the events' own time."""
    import faust

    class Event(faust.Record):
        query_type: str
        event_time: float
        count: int = 1
        input_tokens: int = 0
        output_tokens: int = 0

    app = faust.App(
        "bench-stock",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_partitions=PARTITIONS,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    topic = app.topic(SOURCE, value_type=Event)
    counts = app.Table("counts", default=int, partitions=PARTITIONS).tumbling(
        BUCKET_S, expires=timedelta(hours=1)
    )
    requests = counts.relative_to_field(Event.event_time)

    async def count(events: Any) -> None:
        async for event in events:
            watch.begin()
            requests[event.query_type] += event.count
            watch.add(1)

    app.agent(topic)(count)

    async def run() -> None:
        await app.start()
        await app.wait_until_stopped()

    asyncio.run(run())


def quix_streams(bootstrap: str, watch: Stopwatch) -> None:
    """Quix Streams: a tumbling count by the events' own time."""
    from quixstreams import Application

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=bootstrap,
            consumer_group="bench-quix",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="ERROR",
        )
        topic = app.topic(
            SOURCE,
            value_deserializer="json",
            timestamp_extractor=lambda value, *_: round(value["event_time"] * 1000),
        )

        def seen(_: Any) -> None:
            watch.begin()
            watch.add(1)

        app.dataframe(topic).update(seen).tumbling_window(timedelta(seconds=BUCKET_S)).count().final()
        app.run()


CONTENDERS: dict[str, Callable[[str, Stopwatch], None]] = {
    "aiokafka": aiokafka_getmany,
    "confluent": confluent_consume,
    "faust": stock_faust,
    "quix": quix_streams,
}

if __name__ == "__main__":
    name, bootstrap_servers, number, limit = sys.argv[1:]
    CONTENDERS[name](bootstrap_servers, Stopwatch(int(number), float(limit)))
