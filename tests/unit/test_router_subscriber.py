"""What a router does with the records of the plans topic, on a broker that is a list."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.clock import ReplayClock
from controller.errors import BrokerError, SettingsError
from controller.kafka import KafkaConnection
from controller.router import PlanSubscriber
from controller.router.fence import LogIdentity
from schemas import AllocationPlan, PlanAck

EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes())
CONNECTION = KafkaConnection("nowhere:9092")
PATIENCE_S = 20.0
VALID_UNTIL = AllocationPlan.model_validate_json(json.dumps(EXAMPLE)).valid_until


def plan(epoch: int, sequence: int, **changes: Any) -> bytes:
    document = EXAMPLE | {"epoch": epoch, "sequence": sequence, "plan_id": f"{epoch}/{sequence}"} | changes
    return json.dumps(document).encode()


class ListLog:
    """A broker in a list: what it holds at the start is the tail, what is added later comes by polling."""

    def __init__(self, *records: bytes, cluster: str = "c1", claims: str = "t1") -> None:
        self.records = list(records)
        self.known = LogIdentity(cluster, claims)
        self.acks: list[PlanAck] = []
        self.is_down = self.swallows = False
        self.break_next_poll: Exception | None = None
        self._read = 0
        self._acked = asyncio.Condition()

    async def open(self, depth: int) -> tuple[LogIdentity, list[bytes]]:
        if self.is_down:
            raise BrokerError("nowhere:9092: refused")
        self._read = len(self.records)
        return self.known, self.records[-depth:]

    async def poll(self, timeout_s: float) -> list[bytes]:  # noqa: ARG002 - nothing to wait for
        if self.swallows:  # as aiokafka's clients do while they stop
            self.swallows = False
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.break_next_poll is not None:
            error, self.break_next_poll = self.break_next_poll, None
            raise error
        new, self._read = self.records[self._read :], len(self.records)
        return new

    async def identity(self) -> LogIdentity:
        return self.known

    async def acknowledge(self, ack: PlanAck) -> None:
        async with self._acked:
            self.acks.append(ack)
            self._acked.notify_all()

    async def close(self) -> None:
        pass

    async def answers(self, count: int) -> list[tuple[int, int, str]]:
        """Wait until so many acknowledgements came; return epoch, sequence and status of them all."""
        async with self._acked:
            await self._acked.wait_for(lambda: len(self.acks) >= count)
        return [(ack.epoch, ack.sequence, ack.status) for ack in self.acks]


Subscribe = Callable[..., PlanSubscriber]


@pytest.fixture
def subscribe(tmp_path: Path) -> Subscribe:
    def make(log: ListLog, **options: Any) -> PlanSubscriber:
        options = {"clock": ReplayClock(VALID_UNTIL - 1), "retry_s": 0.0} | options
        return PlanSubscriber(CONNECTION, "r1", "main", tmp_path, log=log, **options)

    return make


async def test_it_starts_with_the_highest_of_the_tail_and_not_with_the_last(subscribe: Subscribe) -> None:
    log = ListLog(plan(3, 9), plan(5, 1), plan(5, 2), plan(4, 70))
    async with subscribe(log) as plans:
        assert plans.current is not None
        assert plans.current.plan_id == "5/2"
        assert await log.answers(1) == [(5, 2, "applied")]


async def test_it_follows_newer_plans_and_answers_a_zombies_with_stale(subscribe: Subscribe) -> None:
    log = ListLog(plan(5, 1))
    async with subscribe(log) as plans:
        log.records += [plan(4, 99), plan(5, 1), plan(5, 2), plan(6, 0)]
        assert await log.answers(5) == [
            (5, 1, "applied"), (4, 99, "stale"), (5, 1, "stale"), (5, 2, "applied"), (6, 0, "applied"),
        ]  # fmt: skip
        assert plans.counts == {"applied": 3, "stale": 2}


async def test_it_stops_where_a_client_swallows_the_cancellation(subscribe: Subscribe) -> None:
    log = ListLog(plan(5, 1))
    async with asyncio.timeout(PATIENCE_S), subscribe(log):
        log.swallows = True
        while log.swallows:
            await asyncio.sleep(0)


async def test_what_it_cannot_use_is_refused_by_name_and_the_last_good_plan_stays(
    subscribe: Subscribe,
) -> None:
    log = ListLog(plan(5, 1))
    async with subscribe(log) as plans:
        log.records += [
            plan(5, 2, schema="plan/2"),
            plan(5, 3, cost=None),
            plan(5, 4, unmet={"chat": 0.5, "code": 0.1}),
            b"\x00 no JSON at all",
            b"[" * 100_000,
            plan(5, 5, fleet="another"),
            plan(5, 6, a_field_of_the_future=1),
        ]
        answers = await log.answers(5)
        assert answers[1:] == [(5, 2, "refused"), (5, 3, "refused"), (5, 4, "refused"), (5, 6, "applied")]
        assert [ack.reason.split(":")[0] for ack in log.acks[1:4]] == [
            "unsupported_version", "invalid", "inconsistent",
        ]  # fmt: skip
        assert plans.counts == {"applied": 2, "refused": 5, "ignored": 1}


async def test_a_newest_plan_it_cannot_read_is_refused_already_at_the_start(subscribe: Subscribe) -> None:
    log = ListLog(plan(4, 1, schema="plan/2"), plan(5, 1), plan(6, 0, schema="plan/2"))
    async with subscribe(log) as plans:
        assert await log.answers(2) == [(5, 1, "applied"), (6, 0, "refused")]
        assert plans.current is not None
        assert plans.current.epoch == 5


async def test_after_a_restart_it_takes_nothing_below_what_it_had_applied(subscribe: Subscribe) -> None:
    async with subscribe(ListLog(plan(5, 7))):
        pass
    log = ListLog(plan(4, 99), plan(5, 6))
    async with subscribe(log) as plans:
        log.records += [plan(5, 7), plan(5, 8)]
        assert await log.answers(2) == [(5, 7, "stale"), (5, 8, "applied")]
        assert plans.current is not None
        assert plans.current.sequence == 8


@pytest.mark.parametrize("other", [{"cluster": "c2"}, {"claims": "t2"}], ids=["cluster", "claims topic"])
async def test_in_another_log_the_fence_starts_anew_and_says_so(
    subscribe: Subscribe, other: dict[str, str]
) -> None:
    async with subscribe(ListLog(plan(500, 7))):
        pass
    log = ListLog(plan(0, 1), **other)
    with capture_logs() as logs:
        async with subscribe(log):
            assert await log.answers(1) == [(0, 1, "applied")]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["fence_starts_anew"]


async def test_a_log_that_is_made_anew_under_a_running_router_does_not_lock_it_out(
    subscribe: Subscribe,
) -> None:
    log = ListLog(plan(500, 7))
    async with subscribe(log) as plans:
        log.known = LogIdentity("c1", "made-again")
        log.records += [plan(0, 1)]
        assert await log.answers(2) == [(500, 7, "applied"), (0, 1, "applied")]
        assert plans.current is not None
        assert plans.current.epoch == 0


async def test_without_a_broker_it_routes_by_the_plan_on_disk_and_catches_up_later(
    subscribe: Subscribe,
) -> None:
    async with subscribe(ListLog(plan(5, 7))):
        pass
    log = ListLog(plan(5, 8))
    log.is_down = True
    async with subscribe(log) as plans:
        assert not plans.is_connected
        assert plans.choose("chat") == "8b@A6000/tp1/pp1"
        log.is_down = False
        assert await log.answers(1) == [(5, 8, "applied")]
        assert plans.is_connected


async def test_without_a_broker_and_without_a_plan_on_disk_it_does_not_start(subscribe: Subscribe) -> None:
    log = ListLog()
    log.is_down = True
    with pytest.raises(BrokerError, match="refused"):
        await subscribe(log).start()


async def test_a_broker_that_refuses_for_a_while_is_asked_again(subscribe: Subscribe) -> None:
    log = ListLog(plan(5, 1))
    async with subscribe(log):
        log.break_next_poll = BrokerError("not authorized")
        log.records += [plan(5, 2)]
        assert await log.answers(2) == [(5, 1, "applied"), (5, 2, "applied")]


async def test_past_its_time_the_plan_is_kept_and_called_stale_once(subscribe: Subscribe) -> None:
    clock = ReplayClock(VALID_UNTIL)
    log = ListLog(plan(5, 1))
    with capture_logs() as logs:
        async with subscribe(log, clock=clock) as plans:
            assert not plans.is_stale
            clock.advance(VALID_UNTIL + 60)
            assert plans.is_stale
            assert plans.choose("chat") is not None
            for _ in range(20):
                await asyncio.sleep(0)
            log.records += [plan(5, 2, valid_until=VALID_UNTIL + 300)]
            await log.answers(2)
            assert not plans.is_stale
    assert [entry["late_s"] for entry in logs if entry["event"] == "plan_out_of_date"] == [60.0]


async def test_a_plan_that_the_routers_own_code_cannot_take_is_refused(subscribe: Subscribe) -> None:
    taken: list[int] = []

    async def on_plan(new: AllocationPlan) -> None:
        if new.sequence == 2:
            raise RuntimeError("no such upstream")
        taken.append(new.sequence)

    log = ListLog(plan(5, 1))
    async with subscribe(log, on_plan=on_plan) as plans:
        log.records += [plan(5, 2), plan(5, 3)]
        assert await log.answers(3) == [(5, 1, "applied"), (5, 2, "refused"), (5, 3, "applied")]
        assert "no such upstream" in log.acks[1].reason
        assert taken == [1, 3]
        assert plans.current is not None


async def test_readers_get_the_plan_in_force_then_the_newer_ones_and_an_end(subscribe: Subscribe) -> None:
    log = ListLog(plan(5, 1))
    subscriber = subscribe(log)
    seen: list[int] = []

    async def read() -> None:
        async for new in subscriber.plans():
            seen.append(new.sequence)
            log.records.append(plan(5, new.sequence + 1))
            if new.sequence == 3:
                await subscriber.stop()

    await subscriber.start()
    await read()
    assert seen == [1, 2, 3]


async def test_readers_are_told_when_following_broke(subscribe: Subscribe) -> None:
    log = ListLog(plan(5, 1))
    subscriber = subscribe(log)
    await subscriber.start()
    log.break_next_poll = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        async for _ in subscriber.plans():
            pass
    assert subscriber.choose("chat") is not None
    await subscriber.stop()


async def test_a_disk_that_is_full_does_not_stop_the_routing(subscribe: Subscribe, tmp_path: Path) -> None:
    (tmp_path / "last-good-plan.json").mkdir()
    log = ListLog(plan(5, 1))
    async with subscribe(log) as plans:
        assert await log.answers(1) == [(5, 1, "applied")]
        assert log.acks[0].reason.startswith("not kept on disk")
        assert plans.choose("chat") is not None


def test_a_router_needs_neither_faust_nor_confluent_kafka() -> None:
    code = (
        "import sys\n"
        "for name in ('faust', 'mode', 'confluent_kafka', 'pulp', 'highspy', 'numpy'):\n"
        "    sys.modules[name] = None\n"
        "import controller.router\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("names", [("", "main"), ("r1", "x" * 129), ("r\n1", "main")])
async def test_a_name_that_no_message_can_carry_is_refused_before_the_start(
    names: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="1 to 128 characters"):
        PlanSubscriber(CONNECTION, *names, tmp_path)


def test_a_password_is_never_in_what_a_connection_shows_of_itself() -> None:
    connection = KafkaConnection("b:9092", security={"sasl_plain_password": "hunter2"})
    assert "hunter2" not in repr(connection)
    assert connection.aiokafka_kwargs()["sasl_plain_password"] == "hunter2"  # noqa: S105 - a canary
