"""What ``make bench-stream`` puts onto the source topic: single-request events, at once or as they happen.

``python -m tests.benchmarks.stream_load BOOTSTRAP EVENTS_PER_S SECONDS`` sends them as they happen, and says at the end
how many were acknowledged, in all and each second.
"""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import Producer

from tests.benchmarks.stream_contenders import PARTITIONS, QUERY_TYPES, SOURCE

_SLICE_S = 0.01


def event(number: int, time_s: float) -> bytes:
    """Return one request, as a gateway tells of it."""
    query_type = QUERY_TYPES[number % len(QUERY_TYPES)]
    return (
        f'{{"schema":"request-rate/1","query_type":"{query_type}","event_time":{time_s:.3f},"count":1,'
        f'"input_tokens":{number % 900},"output_tokens":{number % 250},"source":"gateway-{number % 8}"}}'
    ).encode()


class Sender:
    """Sends events to the partitions in turn."""

    def __init__(self, bootstrap: str, compression: str = "none") -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,  # a batch that is sent again must not overtake what came after it
                "linger.ms": 5,
                "batch.size": 131_072,
                "queue.buffering.max.messages": 1_000_000,
                "compression.type": compression,
            }
        )
        self._number = 0

    def send(self, records: int, first_s: float, step_s: float) -> None:
        """Send events whose times are so far apart."""
        for place in range(records):
            raw, partition = event(self._number, first_s + place * step_s), self._number % PARTITIONS
            self._number += 1
            while True:
                try:
                    self._producer.produce(SOURCE, raw, partition=partition)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for the broker's word on all."""
        self._producer.flush()


def main(bootstrap: str, events_per_s: float, seconds: float) -> None:
    """Send at a steady rate for so long."""
    sender, sent = Sender(bootstrap), 0
    started = time.time()
    while (now_s := time.time()) < started + seconds:
        due = int((now_s - started) * events_per_s) - sent
        sender.send(due, now_s, 0.0)
        sent += due
        time.sleep(max(0.0, now_s + _SLICE_S - time.time()))
    sender.flush()
    sys.stdout.write(json.dumps({"events": sent, "events_per_s": sent / (time.time() - started)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
