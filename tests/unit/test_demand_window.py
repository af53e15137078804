import math

from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.demand.window import DemandState, DemandWindow

WINDOWING = Windowing(bucket_s=10.0, allowed_lateness_s=0.0, retention_s=600.0)
T = 1_000_000_000.0


def ledger(partition: int, *events: tuple[str, float, int], as_of_s: float = T) -> PartitionLedger:
    made = PartitionLedger(WINDOWING, partition)
    for query_type, at_s, count in events:
        made.add([(query_type, T + at_s, count, 100 * count, 50 * count)])
    made.advance(len(events), as_of_s)
    return made


def window(*ledgers: tuple[PartitionLedger, bool], partitions: int = 2) -> DemandWindow:
    made = DemandWindow(partitions, bucket_s=10.0, idle_timeout_s=60.0)
    for part, is_at_end in ledgers:
        made.apply(part, is_at_end)
    return made


def test_totals_of_all_partitions_are_added_up() -> None:
    view = window(
        (ledger(0, ("chat", 5, 2)), False), (ledger(1, ("chat", 15, 3), ("code", 25, 1)), False)
    ).view(T, T + 30, T + 30)
    assert view.types["chat"].totals == Totals(2, 5, 500, 250)
    assert view.types["chat"].bucket_counts.tolist() == [2, 3, 0]
    assert view.types["code"].state is DemandState.OBSERVED


def test_only_the_window_asked_for_is_in_the_view() -> None:
    view = window((ledger(0, ("chat", 5, 1), ("chat", 35, 4)), False), partitions=1).view(T, T + 30, T + 40)
    assert view.types["chat"].totals.count == 1


def test_an_older_snapshot_changes_nothing() -> None:
    made = window((ledger(0, ("chat", 5, 1), ("chat", 6, 1)), False), partitions=1)
    assert not made.apply(ledger(0, ("chat", 5, 1)), is_at_end=True)
    assert made.view(T, T + 10, T + 10).types["chat"].totals.count == 2


def test_the_same_snapshot_twice_counts_once() -> None:
    once = ledger(0, ("chat", 5, 1))
    made = window((once, False), (once, False), partitions=1)
    assert made.view(T, T + 10, T + 10).types["chat"].totals.count == 1


def test_a_heartbeat_proves_a_type_idle_and_silence_proves_nothing() -> None:
    view = window((ledger(0, ("chat", 5, 0)), False), partitions=1).view(T, T + 10, T + 10)
    assert view.types["chat"].state is DemandState.IDLE
    assert "code" not in view.types


def test_the_slowest_partition_holds_the_watermark_back() -> None:
    made = window((ledger(0, ("chat", 100, 1)), False), (ledger(1, ("chat", 40, 1)), False))
    assert made.watermark_s(T + 100) == T + 40


def test_a_partition_that_nothing_is_known_of_holds_everything_back() -> None:
    made = window((ledger(0, ("chat", 100, 1)), False))
    assert made.watermark_s(T + 100) == -math.inf
    assert made.missing_partitions == (1,)
    assert made.view(T, T + 10, T + 100).is_unknown


def test_a_partition_read_to_its_end_and_silent_for_long_enough_holds_nothing_back() -> None:
    busy = ledger(0, ("chat", 100, 1), as_of_s=T + 100)
    silent = ledger(1, ("chat", 40, 1), as_of_s=T + 40)
    assert window((busy, False), (silent, True)).watermark_s(T + 99) == T + 40
    assert window((busy, False), (silent, True)).watermark_s(T + 100) == T + 100
    assert window((busy, False), (silent, False)).watermark_s(T + 500) == T + 40, (
        "it still has records to read"
    )


def test_where_all_are_silent_time_itself_is_the_watermark() -> None:
    made = window((ledger(0, ("chat", 10, 1)), True), (ledger(1, ("chat", 10, 1)), True))
    assert made.watermark_s(T + 500) == T + 440


def test_a_window_in_which_counting_began_is_covered_in_part() -> None:
    view = window((ledger(0, ("chat", 75, 1), ("chat", 110, 1)), False), partitions=1).view(
        T, T + 100, T + 200
    )
    assert view.coverage == 0.3


def test_a_type_that_falls_silent_in_mid_window_is_not_taken_for_idle() -> None:
    made = ledger(
        0, *(("chat", at, 10) for at in range(0, 100, 10)), *(("code", at, 1) for at in range(0, 300, 10))
    )
    view = window((made, False), partitions=1).view(T, T + 300, T + 330)
    assert view.types["chat"].heard_share == 1 / 3, "the 100 requests are those of 100 s"
    assert view.types["code"].heard_share == 1.0


def test_a_heartbeat_long_ago_proves_nothing_of_the_rest_of_the_window() -> None:
    made = ledger(0, ("chat", 5, 0), ("code", 295, 1))
    view = window((made, False), partitions=1).view(T, T + 300, T + 330)
    assert view.types["chat"].state is DemandState.UNKNOWN
    often = ledger(0, *(("chat", at, 0) for at in range(0, 300, 60)), ("code", 295, 1))
    assert (
        window((often, False), partitions=1).view(T, T + 300, T + 330).types["chat"].state is DemandState.IDLE
    )


def test_a_rare_type_that_nobody_asked_for_in_a_while_is_taken_as_it_is() -> None:
    made = ledger(0, ("chat", 5, 1), ("code", 295, 1))
    view = window((made, False), partitions=1).view(T, T + 300, T + 330)
    assert (view.types["chat"].heard_share, view.types["chat"].state) == (1.0, DemandState.OBSERVED)
