"""The audit: reads the source log itself, recounts it, and holds everything that workers said against that.

It is run after each trial, and goes on from where the audit before it stopped: a record is read and judged once, by
the oracle, which shares no code with the product.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.faults.trial import Outcome
from tests.faults.watch import OUTCOMES, Watch
from tests.worker_harness import (
    BUCKET_S,
    DUPLICATE_WINDOW,
    HORIZON_S,
    LATENESS_S,
    SKEW_S,
    SOURCE,
    T0,
    TYPES,
    VALIDITY_HORIZONS,
)
from tests.worker_oracle import PartitionRecount, Rules, observed_rates, window_of

MADE_FROM_DEMAND = ("planned", "kept")
_LONGEST_WORLD_S = 10 * 86_400.0
"""Of what the load sends, nothing is ahead of its clock but one kind of poison: a month ahead of the start."""


class Audit:
    """The recount of one world, and what of the workers' words was held against it so far.

    Parameters
    ----------
    one_planner : whether plans must come in the order of their numbers, no horizon twice; not so where zombies write.
    """

    def __init__(self, bootstrap: str, partitions: int, *, one_planner: bool = True) -> None:
        rules = Rules(
            query_types=frozenset(TYPES),
            length_s=HORIZON_S,
            bucket_s=BUCKET_S,
            lateness_s=LATENESS_S,
            retention_s=(VALIDITY_HORIZONS + 1) * HORIZON_S + SKEW_S,
            duplicate_window=DUPLICATE_WINDOW,
            now_s=T0 + _LONGEST_WORLD_S,
            skew_s=SKEW_S,
        )
        self._bootstrap = bootstrap
        self._one_planner = one_planner
        self._recounts = [PartitionRecount(rules, []) for _ in range(partitions)]
        self._running: list[list[tuple[int, ...]]] = [[(0,) * len(OUTCOMES)] for _ in range(partitions)]
        self._letters: dict[tuple[int, int], dict[str, Any]] = {}
        self._audited_plans = 0
        self._order: tuple[int, int] = (-1, -1)
        self._planned_upto = ""

    def take_letter(self, letter: dict[str, Any]) -> None:
        self._letters[letter["partition"], letter["offset"]] = letter

    async def run(self, acknowledged: list[list[bytes]], watch: Watch, outcome: Outcome) -> None:
        """Audit everything that came since the last time; workers must have counted all that was acknowledged."""
        fresh = await self._read()
        for number, values in enumerate(fresh):
            self._check_log(number, values, acknowledged[number], outcome)
            self._recount(number, values)
        self._check_snapshots(watch, outcome)
        for number, partition in enumerate(self._recounts):
            self._check_ledger(number, partition, watch.newest.get(number), outcome)
        self._check_letters(fresh, outcome)
        self._check_plans(watch.plans[self._audited_plans :], outcome)
        self._audited_plans = len(watch.plans)

    async def _read(self) -> list[list[bytes]]:
        """Read what the log holds beyond what was read before, by a consumer of our own."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        tps = [TopicPartition(SOURCE, number) for number in range(len(self._recounts))]
        found: list[list[Any]] = [[] for _ in tps]
        await consumer.start()
        try:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, len(self._recounts[tp.partition].values))
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += records
        finally:
            await consumer.stop()
        for number, records in enumerate(found):
            begin = len(self._recounts[number].values)
            if [record.offset for record in records] != list(range(begin, begin + len(records))):
                raise AssertionError(f"the broker lost records of partition {number} from {begin} on")
        return [[record.value for record in records] for records in found]

    def _check_log(
        self, number: int, fresh: list[bytes], acknowledged: list[bytes], outcome: Outcome
    ) -> None:
        """What was acknowledged is in the log, and nothing else: or the ground that we stand on is not firm."""
        begin = len(self._recounts[number].values)
        if Counter(fresh) != Counter(acknowledged[begin:]):
            outcome.wrong.append(
                f"partition {number} of the log is not what was acknowledged, from {begin} on"
            )

    def _recount(self, number: int, fresh: list[bytes]) -> None:
        partition, running = self._recounts[number], self._running[number]
        begin = len(partition.values)
        partition.extend(fresh)
        for verdict in partition.verdicts[begin:]:
            before = running[-1]
            running.append(
                tuple(count + (verdict.outcome == name) for count, name in zip(before, OUTCOMES, strict=True))
            )

    def _check_snapshots(self, watch: Watch, outcome: Outcome) -> None:
        """No snapshot was ever wrong on the way: each has as many of each outcome as the records below its offset."""
        unchecked, watch.unchecked = watch.unchecked, []
        for said in unchecked:
            running = self._running[said.partition]
            if said.next_offset >= len(running):
                outcome.wrong.append(f"partition {said.partition} is said to reach {said.next_offset}")
                continue
            expected = running[said.next_offset]
            if said.outcomes != expected or said.skipped:
                outcome.wrong.append(
                    f"a snapshot of partition {said.partition} at {said.next_offset} says {said.outcomes} and "
                    f"{said.skipped} skipped, not {expected}"
                )
                _note(outcome, said.outcomes, expected)

    def _check_ledger(
        self, number: int, partition: PartitionRecount, ledger: dict[str, Any] | None, outcome: Outcome
    ) -> None:
        """The newest snapshot is the recount: totals, buckets, watermark and offset."""
        if ledger is None:
            outcome.wrong.append(f"nothing was ever said of partition {number}")
            return
        found = {bucket["start"]: bucket["totals"] for bucket in ledger["buckets"]}
        expected = partition.buckets()
        if found != expected:
            cells = {
                (start, name)
                for side in (found, expected)
                for start, totals in side.items()
                for name in totals
            }
            sides = [
                tuple(side.get(start, {}).get(name, {}).get("events", 0) for start, name in sorted(cells))
                for side in (found, expected)
            ]
            _note(outcome, *sides)
            outcome.wrong.append(f"the buckets of partition {number} are not the recount's")
        for name, is_said, must_be in (
            ("next_offset", ledger["next_offset"], len(partition.values)),
            ("watermark", ledger["watermark"], partition.watermark),
            ("since", ledger["since"], partition.since),
        ):
            if is_said != must_be:
                outcome.wrong.append(f"{name} of partition {number} is {is_said}, not {must_be}")

    def _check_letters(self, fresh: list[list[bytes]], outcome: Outcome) -> None:
        """Each refused record has a dead letter that says where it stood and what it was, and nothing else has one."""
        refused: dict[tuple[int, int], bytes] = {}
        for number, values in enumerate(fresh):
            partition = self._recounts[number]
            for offset in range(len(partition.values) - len(values), len(partition.values)):
                if partition.verdicts[offset].outcome == "refused":
                    refused[number, offset] = partition.values[offset]
        letters, self._letters = self._letters, {}
        for place, raw in refused.items():
            letter = letters.pop(place, None)
            if letter is None:
                outcome.wrong.append(f"no dead letter of {place}")
            elif base64.b64decode(letter["raw_base64"]) != raw or not letter["reason"]:
                outcome.wrong.append(f"the dead letter of {place} is of something else, or without a reason")
        for (
            number,
            offset,
        ) in letters:  # one may come twice, and late, from a worker that died after it had sent it
            verdicts = self._recounts[number].verdicts
            if offset >= len(verdicts) or verdicts[offset].outcome != "refused":
                outcome.wrong.append(f"a dead letter of {(number, offset)}, which is no refusal")

    def _check_plans(self, plans: list[dict[str, Any]], outcome: Outcome) -> None:
        """Plans are of the demand that the log holds at the offsets that they name, and of whole windows."""
        for plan in plans:
            name, is_made = plan["plan_id"], plan["decision"]["name"] in MADE_FROM_DEMAND
            if self._one_planner:
                order = plan["epoch"], plan["sequence"]
                if order <= self._order:
                    outcome.wrong.append(f"{name} came after {self._order}")
                self._order = order
                if is_made and plan["trigger"] == "horizon":
                    if plan["horizon_start"] <= self._planned_upto:
                        outcome.wrong.append(f"{name} plans {plan['horizon_start']} once more")
                    self._planned_upto = plan["horizon_start"]
            if not is_made:
                continue
            if window_of(self._recounts, plan) != window_of(self._recounts, plan, whole=True):
                outcome.wrong.append(f"{name} was made before all demand of its window was in")
            expected = observed_rates(self._recounts, plan)
            # A plan for a surge leaves types that do not surge as they were.
            found = {
                demand["query_type"]: demand["observed_rate_per_s"]
                for demand in plan["demand"]
                if demand["observed_rate_per_s"] is not None
                and (plan["trigger"] == "horizon" or demand["shaped_by"] == "surge")
            }
            if plan["trigger"] == "surge":
                expected = {kind: rate for kind, rate in expected.items() if kind in found}
            if found.keys() != expected.keys() or not all(
                math.isclose(found[kind], expected[kind], rel_tol=1e-9) for kind in expected
            ):
                outcome.wrong.append(f"{name} is of the demand {found}, not {expected}")


def _note(outcome: Outcome, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Take the greatest shortfall and excess that was seen; the same record must not be reported for each snapshot."""
    short = sum(max(0, e - f) for f, e in zip(found, expected, strict=True))
    over = sum(max(0, f - e) for f, e in zip(found, expected, strict=True))
    outcome.lost, outcome.double = max(outcome.lost, short), max(outcome.double, over)
