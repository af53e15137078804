"""Ingest by chunks, however the records are cut up and read again, against the recount of one record at a time."""

import json
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.clock import ReplayClock
from controller.settings import Settings
from controller.stream.ingest import Ingest, windowing_of
from controller.stream.transport import Chunk

T0, NOW_S = 1_700_000_000.0, 1_700_000_300.0
WINDOW = 6
SETTINGS = Settings.model_validate(
    {
        "horizon": {"length_s": 60.0, "bucket_s": 10.0, "allowed_lateness_s": 15.0, "max_skew_s": 20.0},
        "ingest": {"duplicate_window_records": WINDOW},
    }
)
QUERY_TYPES = frozenset({"chat", "code"})

events = st.fixed_dictionaries(
    {
        "schema": st.just("request-rate/1"),
        "query_type": st.sampled_from(["chat", "chat", "code", "poetry"]),
        "event_time": st.one_of(
            st.floats(T0, T0 + 340.0),
            st.sampled_from([T0, T0 + 9.999, T0 + 10, T0 + 25, T0 + 35, NOW_S + 20, NOW_S + 20.001]),
            st.integers(int(T0), int(T0) + 100),
        ),
        "count": st.integers(0, 3),
    },
    optional={"event_id": st.sampled_from("abcd")},
).map(lambda event: json.dumps(event).encode())
records = st.lists(st.one_of(events, events, events, st.sampled_from([b"", b"{", b"[1]"])), max_size=60)


def read(ingest: Ingest, values: list[bytes], start: int, end: int) -> None:
    chunk = Chunk(
        list(range(start, end)), [None] * (end - start), list(values[start:end]), len(values) - end, start
    )
    ingest.count(0, ingest.decode(chunk))
    ingest.store(0)


@settings(max_examples=300, deadline=None)
@given(records, st.data())
def test_ledgers_equal_the_recount_wherever_chunks_end_and_workers_start_anew(
    oracle: ModuleType, values: list[bytes], data: st.DataObject
) -> None:
    table: dict[str, bytes] = {}
    reached = len(values) + 1
    while reached != len(values):
        ingest = Ingest(table, ReplayClock(NOW_S), SETTINGS, QUERY_TYPES)
        reached = ingest.resume(0)
        for _ in range(data.draw(st.integers(1, 4), label="chunks before the worker dies")):
            if reached == len(values):
                break
            start = data.draw(st.integers(max(0, reached - 3), reached), label="read again from")
            end = data.draw(st.integers(reached + 1, len(values)), label="to")
            read(ingest, values, start, end)
            reached = end
    state: dict[str, Any] = json.loads(table["0"]) if values else {}
    rules = oracle.Rules(
        query_types=QUERY_TYPES,
        length_s=60.0,
        bucket_s=10.0,
        lateness_s=15.0,
        retention_s=windowing_of(SETTINGS).retention_s,
        duplicate_window=WINDOW,
        now_s=NOW_S,
        skew_s=20.0,
    )
    recount = oracle.PartitionRecount(rules, values)
    if state:
        assert {name: state[name] for name in recount.tallies()} == recount.tallies()
        assert (state["next_offset"], state["skipped"]) == (len(values), 0)
        assert (state["watermark"], state["since"]) == (recount.watermark, recount.since)
        assert {bucket["start"]: bucket["totals"] for bucket in state["buckets"]} == recount.buckets()
