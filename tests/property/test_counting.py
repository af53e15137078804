"""The ledger: every record in exactly one state, whatever the order, and the same after a restart anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from controller.demand.counting import PartitionLedger, Windowing
from controller.stream.codec import ledger_of
from controller.stream.snapshot_bytes import SnapshotWriter
from schemas import BucketTotals, DemandSnapshot, TypeTotals

WINDOWING = Windowing(bucket_s=10.0, allowed_lateness_s=30.0, retention_s=120.0)
START_S = 1_000_000_000.0

records = st.lists(
    st.tuples(
        st.sampled_from(["chat", 'code "é']),
        st.floats(min_value=0.0, max_value=400.0).map(lambda s: START_S + round(s, 3)),
        st.integers(min_value=0, max_value=5),
    ),
    max_size=60,
)


def fill(ledger: PartitionLedger, part: list[tuple[str, float, int]]) -> PartitionLedger:
    for query_type, event_time_s, count in part:
        ledger.add([(query_type, event_time_s, count, 10 * count, 3 * count)])
        ledger.advance(ledger.next_offset + 1, START_S)
    return ledger


def as_the_schema_writes_it(ledger: PartitionLedger, *, is_at_end: bool) -> bytes:
    snapshot = DemandSnapshot(
        partition=ledger.partition,
        next_offset=ledger.next_offset,
        watermark=ledger.watermark_s,
        since=ledger.since_s,
        as_of=ledger.as_of_s,
        at_end=is_at_end,
        bucket_s=ledger.windowing.bucket_s,
        buckets=[
            BucketTotals(
                start=bucket * ledger.windowing.bucket_s,
                totals={
                    name: TypeTotals(
                        events=totals.events,
                        count=totals.count,
                        input_tokens=totals.input_tokens,
                        output_tokens=totals.output_tokens,
                    )
                    for name, totals in by_type.items()
                },
            )
            for bucket, by_type in sorted(ledger.buckets.items())
        ],
        counted=ledger.counted,
        late=ledger.late,
        refused=ledger.refused,
        duplicates=ledger.duplicates,
        skipped=ledger.skipped,
    )
    return snapshot.encode()


@given(records)
def test_every_record_is_counted_or_late(part: list[tuple[str, float, int]]) -> None:
    ledger = fill(PartitionLedger(WINDOWING, 0), part)
    assert ledger.counted + ledger.late == ledger.next_offset == len(part)


@given(records)
def test_late_is_what_an_oracle_that_keeps_everything_finds_late(part: list[tuple[str, float, int]]) -> None:
    latest_s, late, kept = -1.0, 0, 0
    for _, event_time_s, _ in part:
        watermark_s = (latest_s - 30.0) // 10.0 * 10.0
        is_late = latest_s >= 0 and (event_time_s // 10.0 + 1) * 10.0 <= watermark_s
        late, kept = late + is_late, kept + (not is_late)
        latest_s = latest_s if is_late else max(latest_s, event_time_s)
    ledger = fill(PartitionLedger(WINDOWING, 0), part)
    assert (ledger.late, ledger.counted) == (late, kept)


@given(records)
def test_the_watermark_never_goes_back(part: list[tuple[str, float, int]]) -> None:
    ledger = PartitionLedger(WINDOWING, 0)
    before = -1.0
    for record in part:
        fill(ledger, [record])
        assert ledger.watermark_s is not None
        assert ledger.watermark_s >= before
        before = ledger.watermark_s


@given(records, st.integers(min_value=0, max_value=60))
def test_a_ledger_that_was_written_down_and_read_back_goes_on_as_if_nothing_had_happened(
    part: list[tuple[str, float, int]], at: int
) -> None:
    whole = fill(PartitionLedger(WINDOWING, 3), part)
    broken_off = fill(PartitionLedger(WINDOWING, 3), part[:at])
    written = SnapshotWriter(broken_off).write(is_at_end=False)
    resumed = ledger_of(DemandSnapshot.model_validate_json(written), WINDOWING)
    assert fill(resumed, part[at:]) == whole


@given(st.lists(records, max_size=4), st.booleans())
def test_the_fast_writer_writes_what_the_schema_writes(
    parts: list[list[tuple[str, float, int]]], at_end: bool
) -> None:
    ledger = PartitionLedger(WINDOWING, 3)
    writer = SnapshotWriter(ledger)
    for part in [[], *parts]:
        fill(ledger, part)
        assert writer.write(is_at_end=at_end) == as_the_schema_writes_it(ledger, is_at_end=at_end)


@given(records)
def test_memory_is_bounded_by_retention_and_lateness_not_by_the_stream(
    part: list[tuple[str, float, int]],
) -> None:
    ledger = fill(PartitionLedger(WINDOWING, 0), part)
    longest_s = WINDOWING.retention_s + WINDOWING.allowed_lateness_s
    span = (max(ledger.buckets) - min(ledger.buckets) + 1) * WINDOWING.bucket_s if ledger.buckets else 0
    assert span <= longest_s + 3 * WINDOWING.bucket_s
