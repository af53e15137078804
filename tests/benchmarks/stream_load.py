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


_KINDS = 9000
"""Events that differ in more than their time; made once, so that who sends them takes little of the machine."""


def _kind(number: int) -> tuple[bytes, bytes]:
    """Return what stands before a request's time, and what stands after it, as a gateway tells of it."""
    query_type = QUERY_TYPES[number % len(QUERY_TYPES)]
    return (
        f'{{"schema":"request-rate/1","query_type":"{query_type}","event_time":'.encode(),
        f',"count":1,"input_tokens":{number % 900},"output_tokens":{number % 250},'
        f'"source":"gateway-{number % 8}"}}'.encode(),
    )


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
        self._kinds = [_kind(number) for number in range(_KINDS)]

    def send(self, records: int, first_s: float, step_s: float) -> None:
        """Send events whose times are so far apart."""
        produce, kinds, time_s = self._producer.produce, self._kinds, first_s
        text = b"%.3f" % time_s
        for number in range(self._number, self._number + records):
            before, after = kinds[number % _KINDS]
            raw = before + text + after
            while True:
                try:
                    produce(SOURCE, raw, partition=number % PARTITIONS)
                    break
                except BufferError:
                    self._producer.poll(0.05)
            if step_s:
                time_s += step_s
                text = b"%.3f" % time_s
        self._number += records
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
