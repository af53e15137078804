"""The fault programme's own parts: a tool that breaks things must itself be whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from controller.stream.event_decoder import EventDecoder
from tests.faults.ledger import ATTEMPTS, Ledger
from tests.faults.malformed import KINDS, MAX_BYTES, good
from tests.faults.proxy import Proxy
from tests.faults.table import percentile, rows
from tests.faults.trial import Case, Outcome, Trial
from tests.worker_harness import BUCKET_S, TYPES


def trial(number: int, attempt: int = 0, **found: object) -> Trial:
    outcome = Outcome("SIGKILL", **{"landed": "after-store", "recovery_s": 1.0, **found})  # type: ignore[arg-type]
    return Trial.of(Case("kill", number, 0, attempt), outcome, 1.0)


def test_a_campaign_goes_on_where_it_stopped_and_runs_a_trial_again_that_it_was_killed_in(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        ledger.add(trial(number))
    path = tmp_path / "trials.jsonl"
    path.write_text(path.read_text()[:-40])
    again = Ledger(tmp_path)
    assert [t.number for t in again.trials] == [0, 1]
    assert again.to_do("kill", 0, range(4)) == [Case("kill", 2, 0), Case("kill", 3, 0)]
    assert len(again.to_do("kill", 1, range(4))) == 4, "another seed is another campaign"
    again.add(trial(2))
    assert [t.number for t in Ledger(tmp_path).trials] == [0, 1, 2]


def test_a_fault_that_missed_is_tried_again_with_another_draw_but_not_for_ever(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for attempt in range(ATTEMPTS):
        (case,) = ledger.to_do("kill", 0, range(1))
        assert case.attempt == attempt
        assert case.random().random() != Case("kill", 0, 0, attempt + 1).random().random()
        ledger.add(trial(0, attempt, landed=""))
    assert ledger.to_do("kill", 0, range(1)) == []


def test_a_broken_trial_is_not_tried_away(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(trial(0, lost=1))
    assert ledger.to_do("kill", 0, range(1)) == []


def test_the_table_counts_what_landed_and_leaves_what_missed_out_of_its_times() -> None:
    found = [trial(0, recovery_s=2.0), trial(1, recovery_s=4.0, lost=3), trial(2, landed="", recovery_s=99.0)]
    (row,) = rows(found)
    assert (row["landed"], row["missed"], row["lost"], row["broken"]) == (2, 1, 3, 1)
    assert (row["recovery_p50_s"], row["recovery_max_s"]) == (2.0, 4.0)
    assert row["where"] == {"after-store": 2}


@pytest.mark.parametrize(("share", "value"), [(0.5, 10.0), (0.95, 19.0), (1.0, 20.0)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(20, 0, -1)], share) == value


@pytest.mark.parametrize("name", [name for name in KINDS if name != "far ahead"])
def test_each_kind_of_malformed_input_is_refused_for_the_reason_that_it_was_made_for(name: str) -> None:
    decoder = EventDecoder(max_bytes=MAX_BYTES, bucket_s=BUCKET_S, query_types=TYPES)
    make, reasons, _ = KINDS[name]
    dice = Random(name)
    raws = [make(dice, good(dice, dice.uniform(0, 1000))) for _ in range(60)]
    refused = decoder.decode(raws).refused
    for place, raw in enumerate(raws):
        assert place in refused, raw[:300]
        assert refused[place].reason in reasons, (refused[place], raw[:300])


@asynccontextmanager
async def echo_behind_a_proxy() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy() as proxy:
        proxy.upstream = server.sockets[0].getsockname()[1]
        yield proxy


async def test_the_proxy_passes_on_what_it_gets_and_holds_it_back_when_stopped_up() -> None:
    async with echo_behind_a_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        proxy.stop_up()
        writer.write(b"two")
        waiting = asyncio.create_task(reader.readexactly(3))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        proxy.clear()
        assert await waiting == b"two"
        writer.close()


async def test_the_proxy_resets_what_it_cuts_and_is_found_again_on_its_port_after_it_refused() -> None:
    async with echo_behind_a_proxy() as proxy:
        port = proxy.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        await reader.readexactly(3)
        await proxy.cut()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await proxy.refuse()
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", port)
        await proxy.accept()
        assert proxy.port == port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        writer.close()
