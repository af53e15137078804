"""Decodes the source topic: every record passes here, so there are fast ways, and a strict one that is always right.

:class:`schemas.RequestRateEvent` says what an event is. A fast way accepts part of what the schema accepts, with the
same values, at a tenth of its cost: blocks of records that all have the usual fields and no others, half as dear
again, and records one by one. Whatever neither accepts goes the strict way, whose verdict is final. Property tests hold
the three together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType
from pydantic import ValidationError

from controller.demand.counting import Record, event_time_s
from controller.errors import MessageError
from schemas import RequestRateEvent
from schemas.base import EARLIEST_S, LARGEST_COUNT, LATEST_S, LONGEST_NAME, epoch_seconds
from schemas.events import LONGEST_WINDOW_S


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"schema_name": "schema"}):
    """The fields of an event by their types only. One that is not there is UNSET: the keys must be counted."""

    query_type: str
    event_time: float | str
    schema_name: Literal["request-rate/1"] | UnsetType = UNSET
    window_s: float | UnsetType = UNSET
    count: int | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    source: str | UnsetType = UNSET
    event_id: str | UnsetType | None = UNSET


_Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]


class _Usual(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"schema_name": "schema"}):
    """An event with the fields that gateways usually send, all of them and no others; no heartbeat."""

    query_type: str
    event_time: Annotated[float, Meta(ge=EARLIEST_S, le=LATEST_S)]
    schema_name: Literal["request-rate/1"]
    count: Annotated[int, Meta(ge=1, le=LARGEST_COUNT)]
    input_tokens: _Count
    output_tokens: _Count
    source: Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]


_LEAST_QUOTES = 2 * 7 + 2 * 3
"""In a usual event: around its keys, and around its texts."""
_BLOCK = 128
"""Records that are tried together: one odd one among them costs the others a second look."""
_record_of = attrgetter("query_type", "event_time", "count", "input_tokens", "output_tokens")
_query_type_of, _source_of = itemgetter(0), attrgetter("source")


@dataclass(slots=True)
class DecodedEvents:
    """What became of some raw records, by their place.

    Attributes
    ----------
    records : None where one is refused.
    event_ids : of those that have one, in their order.
    refused : why.
    latest_s : the latest event time, s since the epoch; ``-inf`` without one.
    """

    records: list[Record | None]
    event_ids: dict[int, str] = field(default_factory=dict)
    refused: dict[int, MessageError] = field(default_factory=dict)
    latest_s: float = -math.inf

    def latest_before_s(self, limit_s: float) -> float:
        """Return the latest event time before a moment; ``-inf`` without one."""
        if self.latest_s < limit_s:
            return self.latest_s
        times = (event_time_s(record) for record in self.records if record is not None)
        return max((time_s for time_s in times if time_s < limit_s), default=-math.inf)


class EventDecoder:
    """Decodes records of the source topic.

    Parameters
    ----------
    max_bytes : a longer record is refused before it is parsed.
    bucket_s : the longest that an event may tell of.
    query_types : the names that are known.
    """

    def __init__(self, *, max_bytes: int, bucket_s: float, query_types: Collection[str]) -> None:
        self._max_bytes = max_bytes
        self._bucket_s = bucket_s
        self._longest_window_s = min(bucket_s, LONGEST_WINDOW_S)
        self._query_types = frozenset(query_types)
        self._decode = msgspec.json.Decoder(_Wire).decode
        self._decode_usual = msgspec.json.Decoder(_Usual).decode

    def decode(self, values: Sequence[bytes | None]) -> DecodedEvents:
        """Decode records, each on its own; never raises for what is in them.

        Reasons for a refusal: ``empty``, ``too_large``, ``invalid``, ``duplicate_key``, ``window_too_long``,
        ``unknown_query_type``.
        """
        found = DecodedEvents([])
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            usual = self._usual(block)
            if usual is None:
                self._each(found, start, block)
            else:
                found.records += usual
                found.latest_s = max(found.latest_s, max(map(event_time_s, usual)))
        return found

    def _usual(self, raws: Sequence[bytes | None]) -> list[Record] | None:
        """Return the records of a block, or None where one of them is not as usual."""
        present = cast(Sequence[bytes], raws)
        try:
            if max(map(len, present)) > self._max_bytes:
                return None
            events = list(map(self._decode_usual, present))
        except (TypeError, ValueError):  # no value; msgspec's own errors, and text that is not UTF-8
            return None
        # None has fewer quotes than the least, so none has more where their sum is the least: no key stands twice.
        if b"".join(present).count(b'"') != _LEAST_QUOTES * len(present):
            return None
        records: list[Record] = list(map(_record_of, events))
        if not self._query_types.issuperset(map(_query_type_of, records)):
            return None
        if not all(map(str.isprintable, set(map(_source_of, events)))):
            return None
        return records

    def _each(self, found: DecodedEvents, start: int, raws: Sequence[bytes | None]) -> None:
        """Decode records one by one; ``start`` is the place of the first."""
        fast, strict, append = self._fast, self._strict, found.records.append
        latest_s = found.latest_s
        for place, raw in enumerate(raws, start):
            try:
                record, event_id = fast(raw) or strict(raw)
            except MessageError as error:
                found.refused[place] = _bare(error)
                append(None)
                continue
            append(record)
            if record[1] > latest_s:
                latest_s = record[1]
            if event_id is not None:
                found.event_ids[place] = event_id
        found.latest_s = latest_s

    def _fast(self, raw: bytes | None) -> tuple[Record, str | None] | None:
        """Return an event, or None where only the schema can tell."""
        if not raw or len(raw) > self._max_bytes:
            return None
        try:
            event = self._decode(raw)
        except ValueError:  # msgspec's own errors, and text that is not UTF-8
            return None
        # The last of two equal keys wins, here as in the schema; what gives them away is the number of quotes. Each key
        # and each text takes two, a text with an escaped quote takes more, and goes the strict way.
        quotes = 6
        query_type, time_s = event.query_type, event.event_time
        if query_type not in self._query_types:
            return None
        if isinstance(time_s, str):
            quotes += 2
            try:
                time_s = epoch_seconds(time_s)
            except ValueError:
                return None
        if not EARLIEST_S <= time_s <= LATEST_S:
            return None
        count, input_tokens, output_tokens = event.count, event.input_tokens, event.output_tokens
        if count is UNSET:
            count = 1
        else:
            quotes += 2
        if input_tokens is UNSET:
            input_tokens = 0
        else:
            quotes += 2
        if output_tokens is UNSET:
            output_tokens = 0
        else:
            quotes += 2
        if not (
            0 <= count <= LARGEST_COUNT
            and 0 <= input_tokens <= LARGEST_COUNT
            and 0 <= output_tokens <= LARGEST_COUNT
            and (count or not (input_tokens or output_tokens))
        ):
            return None
        if event.schema_name is not UNSET:
            quotes += 4
        window_s, source, event_id = event.window_s, event.source, event.event_id
        if window_s is not UNSET:
            quotes += 2
            if not 0.0 <= window_s <= self._longest_window_s:
                return None
        # What is printable has no control characters, which is all that a name must not have.
        if source is not UNSET:
            quotes += 4
            if not (source.isprintable() and 0 < len(source) <= LONGEST_NAME):
                return None
        if event_id is UNSET:
            event_id = None
        elif event_id is None:
            quotes += 2
        else:
            quotes += 4
            if not (event_id.isprintable() and 0 < len(event_id) <= LONGEST_NAME):
                return None
        if raw.count(b'"') != quotes:
            return None
        return (query_type, time_s, count, input_tokens, output_tokens), event_id

    def _strict(self, raw: bytes | None) -> tuple[Record, str | None]:
        """Return an event by the schema's word.

        Raises
        ------
        MessageError : it is refused.
        """
        if not raw:
            raise MessageError("empty", "record", "must not be empty")
        if len(raw) > self._max_bytes:
            raise MessageError("too_large", "record", f"must be at most {self._max_bytes} bytes", len(raw))
        try:
            event = RequestRateEvent.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "record"
            raise MessageError("invalid", where, str(first["msg"]), first["input"]) from None
        repeated = _repeated_key(raw)
        if repeated is not None:
            raise MessageError(
                "duplicate_key", repeated, "must stand once: readers differ on which one counts"
            )
        if event.window_s > self._bucket_s:
            raise MessageError(
                "window_too_long",
                "window_s",
                f"must be at most one bucket, {self._bucket_s:g} s",
                event.window_s,
            )
        if event.query_type not in self._query_types:
            raise MessageError(
                "unknown_query_type", "query_type", "must be one of the catalog's", event.query_type
            )
        tokens = event.input_tokens, event.output_tokens
        return (event.query_type, event.event_time, event.count, *tokens), event.event_id


def _bare(error: MessageError) -> MessageError:
    """Take off an error what it remembers of the stack, which holds it in turn, and with it all of the chunk."""
    error.__context__ = None
    return error.with_traceback(None)


def _repeated_key(raw: bytes) -> str | None:
    """Return a key that stands more than once in a JSON object that the schema accepts."""
    repeated: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in set(keys) if keys.count(key) > 1)

    # Numbers stay text: a repeated one may be anything.
    json.loads(raw.decode(), object_pairs_hook=look, parse_int=str, parse_float=str, parse_constant=str)
    return min(repeated, default=None)
