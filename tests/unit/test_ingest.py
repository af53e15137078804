import gc
import json
from dataclasses import replace
from typing import Any

import pytest

from controller.clock import ReplayClock
from controller.errors import MessageError
from controller.settings import Settings
from controller.stream.ingest import Ingest, windowing_of
from controller.stream.transport import Chunk

T = 1_700_000_000.0


def event(at_s: float = 0.0, **changes: Any) -> bytes:
    return json.dumps(
        {"schema": "request-rate/1", "query_type": "chat", "event_time": T + at_s, "input_tokens": 7}
        | changes
    ).encode()


def chunk(*values: bytes | None, first: int = 0) -> Chunk:
    return chunk_at(list(range(first, first + len(values))), *values)


def chunk_at(offsets: list[int], *values: bytes | None) -> Chunk:
    return Chunk(offsets, [None] * len(values), list(values), offsets_left=0)


class Ingesting:
    """One partition of ingest, with its table and what it refused."""

    def __init__(self, table: dict[str, bytes] | None = None, **ingest: Any) -> None:
        self.table: dict[str, bytes] = {} if table is None else table
        self.clock = ReplayClock(T + 1000)
        settings = Settings.model_validate({"ingest": ingest})
        self.ingest = Ingest(self.table, self.clock, settings, frozenset({"chat", "code"}))
        self.resumed_at = self.ingest.resume(0)
        self.refused: list[str] = []

    def take(self, part: Chunk) -> None:
        decoded = self.ingest.decode(part)
        letters = self.ingest.count(0, decoded)
        self.refused += [letter.reason for letter in letters]
        self.ingest.store(0)

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.table["0"])
        return state

    def totals(self) -> dict[str, int]:
        return {name: self.state[name] for name in ("counted", "late", "refused", "duplicates", "skipped")}


def test_the_state_holds_the_totals_and_the_offset_that_they_include() -> None:
    part = Ingesting()
    part.take(chunk(event(0), event(3, query_type="code", count=4), event(12)))
    assert part.state["next_offset"] == 3
    assert [bucket["start"] for bucket in part.state["buckets"]] == [T, T + 10]
    assert part.state["buckets"][0]["totals"]["code"]["count"] == 4
    assert part.totals() == {"counted": 3, "late": 0, "refused": 0, "duplicates": 0, "skipped": 0}


def test_what_was_counted_is_not_counted_again_when_it_is_read_again() -> None:
    part = Ingesting()
    part.take(chunk(event(0), event(1), event(2)))
    before = dict(part.state)
    part.take(chunk(event(0), event(1), event(2)))
    assert part.totals()["counted"] == 3
    part.take(chunk(event(1), event(2), event(3), first=1))
    assert part.totals()["counted"] == 4
    assert part.state["next_offset"] == before["next_offset"] + 1


def test_a_worker_that_takes_over_goes_on_where_the_state_ends() -> None:
    first = Ingesting(duplicate_window_records=2)
    first.take(chunk(event(0), event(1), event(2, event_id="x"), event(3)))
    second = Ingesting(first.table, duplicate_window_records=2)
    assert second.resumed_at == 2, "the window of duplicates is read once more, for its ids"
    second.take(chunk(event(2, event_id="x"), event(3), event(4, event_id="x"), event(5), first=2))
    assert second.totals() == {"counted": 5, "late": 0, "refused": 0, "duplicates": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "invalid"),
        (b"[]", "invalid"),
        (b"\xff\xfe", "invalid"),
        (event(count=-1), "invalid"),
        (event(count=True), "invalid"),
        (event(count="3"), "invalid"),
        (event(input_tokens=10**18), "invalid"),
        (event(unknown_field=1), "invalid"),
        (event(query_type="chat\x00"), "invalid"),
        (event().replace(b'"event_time": 1700000000.0', b'"event_time": NaN'), "invalid"),
        (event(event_time=T * 1000), "invalid"),
        (event(event_time="2023-11-14T22:13:20"), "invalid"),
        (event(count=0, input_tokens=1), "invalid"),
        (event().replace(b"{", b'{"count": 1, "count": 9, ', 1), "duplicate_key"),
        (event(window_s=11), "window_too_long"),
        (event(query_type="poetry"), "unknown_query_type"),
        (event(at_s=5000), "too_far_ahead"),
        (event(source="s" * 20_000), "too_large"),
    ],
)
def test_bad_input_is_refused_by_name_and_the_next_good_event_is_counted(
    raw: bytes | None, reason: str
) -> None:
    part = Ingesting()
    part.take(chunk(event(0), raw, event(1)))
    assert part.refused == [reason]
    assert part.totals() == {"counted": 2, "late": 0, "refused": 1, "duplicates": 0, "skipped": 0}


def test_a_dead_letter_says_where_the_record_stands_and_what_it_was() -> None:
    part = Ingesting()
    (letter,) = part.ingest.count(0, part.ingest.decode(chunk(b"{bad", first=41)))
    assert (letter.topic, letter.partition, letter.offset, letter.raw_bytes) == (
        "llm.request-rate.v1",
        0,
        41,
        4,
    )
    assert letter.raw_base64 == "e2JhZA=="


def test_a_late_event_is_counted_as_late_and_in_no_bucket() -> None:
    part = Ingesting()
    part.take(chunk(event(100), event(70), event(69)))
    assert part.totals()["late"] == 1
    assert [bucket["start"] for bucket in part.state["buckets"]] == [T + 70, T + 100]


def test_the_clock_judges_what_is_too_far_ahead_not_the_events() -> None:
    part = Ingesting()
    part.take(chunk(event(1060), event(1061)))
    assert part.refused == ["too_far_ahead"]
    part.clock.advance(T + 1001)
    part.take(chunk(event(1061), first=2))
    assert part.totals()["counted"] == 2


def test_offsets_that_the_broker_lost_are_counted_as_skipped() -> None:
    part = Ingesting()
    part.take(chunk(event(0)))
    part.take(chunk_at([5, 9], event(1), event(2)))
    assert part.totals() == {"counted": 3, "late": 0, "refused": 0, "duplicates": 0, "skipped": 7}
    assert part.state["next_offset"] == 10


def test_a_state_that_cannot_be_trusted_is_counted_anew() -> None:
    part = Ingesting({"0": b'{"schema": "demand/1", "next_offset": -4}'})
    assert part.resumed_at == 0
    part.take(chunk(event(0)))
    assert part.totals()["counted"] == 1


def test_a_chunk_of_a_partition_that_was_taken_away_is_left_to_its_new_owner() -> None:
    part = Ingesting()
    decoded = part.ingest.decode(chunk(event(0)))
    part.ingest.release(0)
    assert part.ingest.count(0, decoded) == []
    part.ingest.store(0)
    assert part.table == {}


def test_a_chunk_that_follows_on_one_that_never_came_is_not_counted_and_its_records_come_again() -> None:
    part = Ingesting()
    part.take(chunk(event(0), event(1)))
    assert part.ingest.missing_from(0, 2) is None
    left_over = replace(chunk(event(4), event(5), first=4), start=4)
    assert part.ingest.missing_from(0, left_over.start) == 2
    part.take(left_over)
    assert part.state["next_offset"] == 2
    part.take(replace(chunk(event(2), event(3), event(4), event(5), first=2), start=2))
    assert part.totals() == {"counted": 6, "late": 0, "refused": 0, "duplicates": 0, "skipped": 0}


def test_a_chunk_is_missed_even_where_all_its_records_were_counted_since_their_ids_were_not_seen() -> None:
    before = Ingesting()
    before.take(chunk(event(0, event_id="a"), event(1, event_id="b")))
    part = Ingesting(before.table)
    assert part.resumed_at == 0
    assert part.ingest.missing_from(0, 2) == 0
    part.take(replace(chunk(event(1, event_id="b"), first=2), start=2))
    assert part.ingest.next_offset(0) == 2
    part.take(chunk(event(0, event_id="a"), event(1, event_id="b"), event(1, event_id="b")))
    assert part.totals() == {"counted": 2, "late": 0, "refused": 0, "duplicates": 1, "skipped": 0}


def test_buckets_are_kept_for_as_long_as_a_plan_may_ask_for_them() -> None:
    settings = Settings.model_validate({"horizon": {"length_s": 60.0, "max_skew_s": 20.0}})
    # A plan of 120 s of validity may be due up to 120 s ago, from a window of 60 s; an event 20 s ahead of the clock.
    assert windowing_of(settings).retention_s == 200.0


def test_snapshots_are_published_when_something_changed_and_when_all_are_asked_for() -> None:
    part = Ingesting()
    assert [partition for partition, _ in part.ingest.snapshots(everything=False)] == [0], (
        "that it is empty is news"
    )
    assert not list(part.ingest.snapshots(everything=False))
    part.take(chunk(event(0)))
    ((_, raw),) = part.ingest.snapshots(everything=False)
    assert (json.loads(raw)["next_offset"], json.loads(raw)["at_end"]) == (1, True)
    part.ingest.note_end(0, is_at_end=True)
    assert not list(part.ingest.snapshots(everything=False))
    part.ingest.note_end(0, is_at_end=False)
    assert len(list(part.ingest.snapshots(everything=False))) == 1
    assert len(list(part.ingest.snapshots(everything=True))) == 1


def test_twenty_thousand_names_that_nobody_knows_leave_nothing_behind_but_their_number() -> None:
    part = Ingesting()
    part.take(chunk(event(0)))
    before = len(part.table["0"])
    known = event(0, source="s")
    for first in range(1, 20_000, 5000):
        names = [known.replace(b"chat", f"name-{first + place}".encode()) for place in range(5000)]
        letters = part.ingest.count(0, part.ingest.decode(chunk(*names, first=first)))
        assert {letter.reason for letter in letters} == {"unknown_query_type"}
    part.ingest.store(0)
    assert part.totals() == {"counted": 1, "late": 0, "refused": 20_000, "duplicates": 0, "skipped": 0}
    assert [list(bucket["totals"]) for bucket in part.state["buckets"]] == [["chat"]]
    assert len(part.table["0"]) <= before + 2 * len("20000")


def test_nothing_is_kept_of_what_was_refused() -> None:
    """A refusal that the garbage collector cannot see through would let any sender of bad input fill the memory."""
    part = Ingesting()
    odd = (
        event(0, count=0, input_tokens=5),
        event(0, count=-1),
        event(0, event_time="noon"),
        b"{",
        event(0)[:-4],
    )
    for first in range(50):
        part.ingest.count(0, part.ingest.decode(chunk(*odd, first=first * len(odd))))
    gc.collect()
    assert sum(type(one) is MessageError for one in gc.get_objects()) == 0
