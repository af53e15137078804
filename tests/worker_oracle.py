"""An independent recount of the source topic. It shares no code with the product: the rules are those of the docs.

A record is refused (it cannot be read, or breaks a rule), a duplicate (its ``event_id`` stood within the last records
of its partition), late (its bucket had closed by the time it came), or counted in the bucket of its event time.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

KNOWN_FIELDS = {
    "schema",
    "query_type",
    "event_time",
    "window_s",
    "count",
    "input_tokens",
    "output_tokens",
    "source",
    "event_id",
}


@dataclass(frozen=True)
class Rules:
    """What the worker was told."""

    query_types: frozenset[str]
    length_s: float
    bucket_s: float
    lateness_s: float
    retention_s: float
    duplicate_window: int
    now_s: float
    skew_s: float


@dataclass(frozen=True)
class Verdict:
    """What must become of one record."""

    outcome: str
    query_type: str = ""
    bucket: int = 0
    count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class PartitionRecount:
    """One source partition, judged record by record in its order."""

    def __init__(self, rules: Rules, values: list[bytes]) -> None:
        self.rules = rules
        self.watermark: float | None = None
        self.since: float | None = None
        self.values: list[bytes] = []
        self.verdicts: list[Verdict] = []
        self._seen_at: dict[str, int] = {}
        self.extend(values)

    def extend(self, values: list[bytes]) -> None:
        """Judge the records that follow."""
        for raw in values:
            self.verdicts.append(self._judge(len(self.values), raw))
            self.values.append(raw)

    def _judge(self, offset: int, raw: bytes) -> Verdict:
        event = _read(raw, self.rules)
        if event is None:
            return Verdict("refused")
        name = event.get("event_id")
        if name is not None:
            before = self._seen_at.get(name)
            self._seen_at[name] = offset
            if before is not None and offset - before <= self.rules.duplicate_window:
                return Verdict("duplicates")
        width = self.rules.bucket_s
        bucket = math.floor(event["event_time"] / width)
        if self.watermark is not None and (bucket + 1) * width <= self.watermark:
            return Verdict("late")
        edge = math.floor((event["event_time"] - self.rules.lateness_s) / width) * width
        self.watermark = edge if self.watermark is None else max(self.watermark, edge)
        self.since = bucket * width if self.since is None else min(self.since, bucket * width)
        return Verdict(
            "counted",
            event["query_type"],
            bucket,
            event.get("count", 1),
            event.get("input_tokens", 0),
            event.get("output_tokens", 0),
        )

    def tallies(self) -> dict[str, int]:
        """Return how many records there are of each outcome."""
        found = Counter(verdict.outcome for verdict in self.verdicts)
        return {name: found[name] for name in ("counted", "late", "refused", "duplicates")}

    def buckets(self) -> dict[float, dict[str, dict[str, int]]]:
        """Return start -> query type -> totals, of the buckets that a ledger must still hold."""
        rules, kept = self.rules, {}
        oldest = -math.inf
        if self.watermark is not None:
            oldest = math.floor((self.watermark - rules.retention_s) / rules.bucket_s)
        for verdict in self.verdicts:
            if verdict.outcome == "counted" and verdict.bucket >= oldest:
                by_type = kept.setdefault(verdict.bucket * rules.bucket_s, {})
                totals = by_type.setdefault(
                    verdict.query_type, {"events": 0, "count": 0, "input_tokens": 0, "output_tokens": 0}
                )
                totals["events"] += 1
                for name in ("count", "input_tokens", "output_tokens"):
                    totals[name] += getattr(verdict, name)
        return kept

    def requests(self, upto: int, start_s: float, end_s: float) -> dict[str, int]:
        """Return the requests per query type heard of in ``[start_s, end_s)``, among the first ``upto`` records."""
        found: dict[str, int] = {}
        for verdict in self.verdicts[:upto]:
            if verdict.outcome == "counted" and start_s <= verdict.bucket * self.rules.bucket_s < end_s:
                found[verdict.query_type] = found.get(verdict.query_type, 0) + verdict.count
        return found

    def first_bucket_s(self, upto: int) -> float:
        """Return the start of the first bucket counted into, among the first ``upto`` records."""
        starts = [v.bucket * self.rules.bucket_s for v in self.verdicts[:upto] if v.outcome == "counted"]
        return min(starts, default=math.inf)


def _read(raw: bytes, rules: Rules) -> dict[str, Any] | None:
    try:
        event = json.loads(raw, object_pairs_hook=_keys_once)
    except ValueError:
        return None
    if not isinstance(event, dict) or set(event) - KNOWN_FIELDS or event.get("schema") != "request-rate/1":
        return None
    moment, count = event.get("event_time"), event.get("count", 1)
    is_good = (
        event.get("query_type") in rules.query_types
        and type(moment) in (int, float)
        and 946684800 <= moment <= min(4102444800, rules.now_s + rules.skew_s)
        and type(count) is int
        and 0 <= count <= 10**15
        and all(type(event.get(name, 0)) is int for name in ("input_tokens", "output_tokens"))
        and not (count == 0 and (event.get("input_tokens") or event.get("output_tokens")))
        and 0 <= event.get("window_s", 0) <= rules.bucket_s
    )
    return event if is_good else None


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def window_of(
    partitions: list[PartitionRecount], plan: dict[str, Any], *, whole: bool = False
) -> dict[str, int]:
    """Return the requests of each query type heard of in a plan's window: a horizon, or, for a surge, its last bucket.

    At the offsets that the plan names, or, ``whole``, in the whole topic.
    """
    end_s = epoch_s(plan["horizon_start"])
    start_s = end_s - _window_s(partitions[0].rules, plan)
    upto = {named["partition"]: named["next_offset"] for named in plan["input"]["partitions"]}
    requests: dict[str, int] = {}
    for number, partition in enumerate(partitions):
        records = len(partition.verdicts) if whole else upto[number]
        for name, count in partition.requests(records, start_s, end_s).items():
            requests[name] = requests.get(name, 0) + count
    return requests


def observed_rates(partitions: list[PartitionRecount], plan: dict[str, Any]) -> dict[str, float]:
    """Return requests per second of each query type heard of in a plan's window, at the offsets that the plan names."""
    end_s = epoch_s(plan["horizon_start"])
    start_s = end_s - _window_s(partitions[0].rules, plan)
    upto = {named["partition"]: named["next_offset"] for named in plan["input"]["partitions"]}
    since_s = min(partition.first_bucket_s(upto[number]) for number, partition in enumerate(partitions))
    watched_s = end_s - max(start_s, since_s)
    return {name: count / watched_s for name, count in window_of(partitions, plan).items()}


def _window_s(rules: Rules, plan: dict[str, Any]) -> float:
    return rules.bucket_s if plan["trigger"] == "surge" else rules.length_s


def epoch_s(text: str) -> float:
    """Return the moment that ISO 8601 text names, s since the epoch."""
    return datetime.fromisoformat(text).timestamp()
