"""The replayer tells the time before it tells what happened, keeps its pace, and reports exactly what it sent."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from controller.errors import BrokerError, InputError
from replay.replayer import Progress, Replayer
from replay.rows import Request
from schemas import ClockTick, RequestRateEvent, Topic
from schemas.base import LATEST_S

T0 = 1_772_582_400.0


class FakeLog:
    """Keeps what it is given, in the order in which it is acknowledged."""

    def __init__(
        self, num_partitions: int = 4, before_append: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        self.num_partitions = num_partitions
        self.records: list[tuple[str, int, bytes]] = []
        self.keys: set[tuple[str, int, bytes | None]] = set()
        self.is_closed = False
        self._before_append = before_append

    async def open(self) -> int:
        return self.num_partitions

    async def append(self, topic: str, partition: int, values: Sequence[bytes], key: bytes | None) -> None:
        await asyncio.sleep(0)
        if self._before_append is not None:
            await self._before_append(topic)
        self.keys.add((topic, partition, key))
        self.records += [(topic, partition, value) for value in values]

    async def close(self) -> None:
        self.is_closed = True

    @property
    def ticks(self) -> list[ClockTick]:
        return [ClockTick.model_validate_json(v) for topic, _, v in self.records if topic == Topic.CLOCK]

    @property
    def events(self) -> list[tuple[int, RequestRateEvent]]:
        return [
            (partition, RequestRateEvent.model_validate_json(value))
            for topic, partition, value in self.records
            if topic == Topic.REQUEST_RATE
        ]


class FakeTime:
    """A machine whose time passes only in sleep, and where it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        await asyncio.sleep(0)


def requests_at(*offsets_s: float, query_type: str = "translation") -> list[Request]:
    return [Request(T0 + offset_s, query_type, 200 + n, 100 + n) for n, offset_s in enumerate(offsets_s)]


def replayer(
    log: FakeLog,
    speed: float = 10.0,
    machine: FakeTime | None = None,
    *,
    step_wall_s: float = 0.05,
    drain_s: float = 0.0,
    heartbeat_s: float = 60.0,
    query_types: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
    hold: Callable[[], Awaitable[None]] | None = None,
) -> Replayer:
    machine = machine or FakeTime()
    return Replayer(
        "nowhere:9092",
        speed,
        heartbeat_s=heartbeat_s,
        query_types=query_types,
        drain_s=drain_s,
        on_progress=on_progress,
        step_wall_s=step_wall_s,
        hold=hold,
        record_log=log,
        sleep=machine.sleep,
        monotonic=machine.monotonic,
    )


async def test_no_event_is_sent_before_the_clock_has_reached_it_nor_more_than_a_step_after() -> None:
    log = FakeLog()
    await replayer(log, speed=10.0, query_types=["math_solving"], heartbeat_s=0.7).run(
        requests_at(*(0.13 * n for n in range(50)))
    )
    now_s = -math.inf
    for topic, _, value in log.records:
        if topic == Topic.CLOCK:
            now_s = ClockTick.model_validate_json(value).now
        else:
            behind_s = now_s - RequestRateEvent.model_validate_json(value).event_time
            assert 0 <= behind_s <= 0.5 + 1e-6


async def test_the_clock_goes_in_even_steps_through_stretches_without_events() -> None:
    log = FakeLog()
    await replayer(log, speed=10.0).run(requests_at(0.0, 3.0))
    assert [tick.now - T0 for tick in log.ticks] == pytest.approx([0.5 * n for n in range(1, 8)])
    assert {tick.speed for tick in log.ticks} == {10.0}


async def test_every_request_is_sent_as_it_was_and_every_partition_gets_its_turn() -> None:
    log = FakeLog(num_partitions=3)
    requests = requests_at(*(0.01 * n for n in range(7)))
    report = await replayer(log).run(requests)
    got = {
        (p, e.source, e.event_time, e.count, e.window_s, e.query_type, e.input_tokens, e.output_tokens)
        for p, e in log.events
    }
    assert got == {
        (n % 3, f"replay-{n % 3}", r.time_s, 1, 0.0, r.query_type, r.input_tokens, r.output_tokens)
        for n, r in enumerate(requests)
    }
    assert log.keys == {
        (Topic.CLOCK, 0, None),
        *((Topic.REQUEST_RATE, n, f"replay-{n}".encode()) for n in range(3)),
    }
    assert (report.sent, report.events, report.heartbeats) == (7, 7, 0)
    assert report.by_type == {"translation": 7}
    assert report.bytes == sum(len(value) for topic, _, value in log.records if topic == Topic.REQUEST_RATE)
    assert (report.first_s, report.last_s) == (requests[0].time_s, requests[-1].time_s)
    assert report.is_complete
    assert log.is_closed


async def test_heartbeats_prove_that_types_nobody_asks_for_are_idle_and_that_partitions_are_alive() -> None:
    log = FakeLog(num_partitions=4)
    types = ["translation", "video_generation"]
    report = await replayer(log, speed=1000.0, query_types=types, heartbeat_s=60.0).run(
        requests_at(0.0, 200.0)
    )
    beats = [(p, e) for p, e in log.events if e.count == 0]
    assert report.heartbeats == len(beats)
    assert report.sent == report.events + report.heartbeats == len(log.events)
    for moment_s in (0.0, 60.0, 120.0, 180.0):
        now = [(p, e) for p, e in beats if e.event_time == T0 + moment_s]
        assert {e.query_type for _, e in now} == set(types)
        assert {p for p, _ in now} == {0, 1, 2, 3}
    assert {e.event_time - T0 for _, e in beats} == {0.0, 60.0, 120.0, 180.0}


async def test_more_types_than_partitions_still_have_a_heartbeat_each() -> None:
    log = FakeLog(num_partitions=2)
    types = [f"type-{n}" for n in range(5)]
    await replayer(log, speed=1000.0, query_types=types, heartbeat_s=10.0).run(requests_at(0.0, 10.0))
    for moment_s in (0.0, 10.0):
        assert {e.query_type for _, e in log.events if e.count == 0 and e.event_time == T0 + moment_s} == set(
            types
        )


@pytest.mark.parametrize(("heartbeat_s", "types"), [(0.0, ["translation"]), (60.0, [])])
async def test_without_an_interval_or_without_types_there_are_no_heartbeats(
    heartbeat_s: float, types: list[str]
) -> None:
    log = FakeLog()
    report = await replayer(log, speed=1000.0, query_types=types, heartbeat_s=heartbeat_s).run(
        requests_at(0.0, 500.0)
    )
    assert (report.heartbeats, len(log.events)) == (0, 2)


async def test_a_day_takes_a_day_divided_by_the_speed() -> None:
    machine = FakeTime()
    report = await replayer(FakeLog(), 3600.0, machine).run(requests_at(0.0, 40_000.0, 86_400.0))
    assert report.wall_s == pytest.approx(24.0, abs=0.1)
    assert machine.now_s == pytest.approx(124.0, abs=0.1)


async def test_slow_steps_are_made_up_for_but_a_long_stall_is_not_followed_by_a_rush() -> None:
    machine = FakeTime()
    stalls_s = iter([0.3, *itertools.repeat(0.0, 99), 7.0, *itertools.repeat(0.0, 10_000)])

    async def stall(topic: str) -> None:
        if topic == Topic.CLOCK:
            machine.now_s += next(stalls_s)

    report = await replayer(FakeLog(before_append=stall), 10.0, machine).run(requests_at(0.0, 100.0))
    # 10 s at speed; 0.3 s were made up for, and of the 7 s no more than one.
    assert report.wall_s == pytest.approx(10.0 + 6.0, abs=0.15)


async def test_sending_slower_than_the_speed_falls_behind_and_skips_nothing() -> None:
    machine = FakeTime()

    async def slow(topic: str) -> None:
        machine.now_s += 0.2

    log = FakeLog(before_append=slow)
    report = await replayer(log, 10.0, machine).run(requests_at(*(0.1 * n for n in range(40))))
    assert len({e.event_time for _, e in log.events}) == report.sent == 40
    assert report.wall_s > 4.0 / 10.0 * 4


async def test_without_a_limit_there_is_no_sleep_and_the_tick_still_says_a_speed() -> None:
    machine = FakeTime()
    log = FakeLog()
    report = await replayer(log, math.inf, machine).run(requests_at(0.0, 50_000.0))
    assert machine.now_s == 100.0
    assert report.is_complete
    assert all(math.isfinite(tick.speed) for tick in log.ticks)
    assert [tick.now - T0 for tick in log.ticks[:2]] == [60.0, 120.0]


async def test_however_fast_the_clock_is_never_more_than_a_minute_ahead_of_what_was_sent() -> None:
    machine = FakeTime()
    log = FakeLog()
    await replayer(log, 1e12, machine).run(requests_at(0.0, 600.0))
    assert [tick.now - T0 for tick in log.ticks] == [60.0 * n for n in range(1, 12)]


async def test_the_last_moments_of_the_last_year_can_be_replayed() -> None:
    log = FakeLog()
    report = await replayer(log, math.inf, drain_s=3600.0).run([Request(LATEST_S - 1.0, "translation", 1, 1)])
    assert (report.sent, log.ticks[-1].now) == (1, LATEST_S)


async def test_after_the_last_request_clock_and_heartbeats_go_on_until_the_drain_is_over() -> None:
    machine = FakeTime()
    log = FakeLog()
    await replayer(log, 10.0, machine, drain_s=20.0, query_types=["translation"], heartbeat_s=1.0).run(
        requests_at(0.0, 5.0)
    )
    assert log.ticks[-1].now >= T0 + 25.0
    assert log.ticks[-1].now <= T0 + 25.5 + 1e-6
    assert max(e.event_time for _, e in log.events) == T0 + 25.0
    assert max(e.event_time for _, e in log.events if e.count) == T0 + 5.0
    assert machine.now_s == pytest.approx(100.0 + 2.5, abs=0.1)


async def test_a_slow_reader_is_waited_for_before_every_step() -> None:
    machine = FakeTime()
    log = FakeLog()
    ticks_when_asked: list[int] = []

    async def hold() -> None:
        ticks_when_asked.append(len(log.ticks))

    await replayer(log, 10.0, machine, hold=hold).run(requests_at(0.0, 1.0))
    assert ticks_when_asked == list(range(len(log.ticks)))


async def test_nothing_to_send_is_a_complete_replay_of_nothing() -> None:
    log = FakeLog()
    report = await replayer(log, drain_s=60.0, query_types=["translation"]).run([])
    assert (report.sent, report.first_s, report.last_s, report.is_complete) == (0, None, None, True)
    assert log.records == []


async def test_progress_reaches_the_clock_and_counts_what_is_acknowledged() -> None:
    log = FakeLog()
    seen: list[tuple[Progress, int, float]] = []
    await replayer(
        log, on_progress=lambda progress: seen.append((progress, len(log.events), log.ticks[-1].now))
    ).run(requests_at(*(0.2 * n for n in range(10))))
    assert len(seen) == len(log.ticks)
    assert all((p.sent, p.time_s) == (sent, now_s) for p, sent, now_s in seen)
    assert seen[-1][0].rate_per_s == pytest.approx(10 / seen[-1][0].wall_s)


async def test_a_cancelled_replay_ends_the_step_it_is_in_and_reports_what_is_in_the_log() -> None:
    is_in_step = asyncio.Event()

    async def hang_at_the_tenth(topic: str) -> None:
        if topic == Topic.REQUEST_RATE and len(log.events) >= 10:
            is_in_step.set()
            await asyncio.sleep(0.01)

    log = FakeLog(before_append=hang_at_the_tenth)
    task = asyncio.ensure_future(replayer(log).run(requests_at(*(0.1 * n for n in range(1000)))))
    await is_in_step.wait()
    task.cancel()
    report = await task
    assert not report.is_complete
    assert 10 < report.sent == len(log.events) < 1000
    assert report.last_s == max(e.event_time for _, e in log.events)
    assert log.is_closed


async def test_cancelling_a_sleeping_replay_returns_its_report() -> None:
    log = FakeLog()
    task = asyncio.ensure_future(
        Replayer("nowhere:9092", 0.001, record_log=log, heartbeat_s=0.0).run(requests_at(0.0, 1000.0))
    )
    while not log.events:
        await asyncio.sleep(0)
    task.cancel()
    report = await task
    assert (report.sent, report.is_complete) == (1, False)


async def test_a_log_that_fails_is_closed_and_the_failure_is_told() -> None:
    async def fail(topic: str) -> None:
        raise BrokerError("gone")

    log = FakeLog(before_append=fail)
    with pytest.raises(BrokerError, match="gone"):
        await replayer(log).run(requests_at(0.0))
    assert log.is_closed


async def test_a_query_type_that_no_message_may_carry_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"query type: .* got 'a\\nb'"):
        await replayer(FakeLog()).run(requests_at(0.0, query_type="a\nb"))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("speed", lambda: Replayer("nowhere:9092", 0.0)),
        ("speed", lambda: Replayer("nowhere:9092", math.nan)),
        ("step_wall_s", lambda: Replayer("nowhere:9092", 1.0, step_wall_s=0.0)),
        ("heartbeat_s", lambda: Replayer("nowhere:9092", 1.0, heartbeat_s=-1.0)),
        ("drain_s", lambda: Replayer("nowhere:9092", 1.0, drain_s=math.inf)),
    ],
)
def test_a_speed_or_a_duration_out_of_range_is_named(name: str, make: Callable[[], Replayer]) -> None:
    with pytest.raises(InputError, match=name):
        make()


def test_the_machine_keeps_the_time_unless_told_otherwise() -> None:
    started_s = time.monotonic()
    asyncio.run(Replayer("nowhere:9092", 10.0, record_log=FakeLog()).run(requests_at(0.0, 1.0)))
    assert time.monotonic() - started_s >= 0.1
