"""Fields of a row: counts and times, from the bytes of a CSV cell or from a JSON value."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from replay.rows import BadRowError, DropReason
from schemas.base import EARLIEST_S, LATEST_S

LARGEST_COUNT = 10**15
"""The largest that a message carries (``schemas.base.Count``)."""
_PLAIN_DIGITS = 15
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MINUTE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)")
_SECONDS = re.compile(rb":([0-5]\d(?:\.\d+)?) ?(?:\+00:?00|[Zz]|([+-])([01]\d|2[0-3]):?([0-5]\d))?")
_SECONDS_BEGIN = frozenset((b":0", b":1", b":2", b":3", b":4", b":5"))
_MOST_MINUTES_KEPT = 100_000


def parse_count(cell: bytes) -> int:
    """Read a count: whole and not negative, also where it is written as a float.

    Examples
    --------
    >>> parse_count(b"12"), parse_count(b" 12.0 "), parse_count(b"1.2e1")
    (12, 12, 12)

    Raises
    ------
    BadRowError : ``not_a_number``, ``negative`` or ``too_large``.
    """
    if len(cell) <= _PLAIN_DIGITS and cell.isdigit():
        return int(cell)
    return whole(_number(cell, DropReason.NOT_A_NUMBER))


def whole(value: float) -> int:
    """Return a number as a count.

    Raises
    ------
    BadRowError : it is negative, above 10**15, or has a fraction.
    """
    if value < 0:
        raise BadRowError(DropReason.NEGATIVE)
    if value > LARGEST_COUNT:
        raise BadRowError(DropReason.TOO_LARGE)
    count = int(value)
    if count != value:
        raise BadRowError(DropReason.NOT_A_NUMBER)
    return count


def json_number(value: Any, reason: DropReason) -> float:
    """Return a JSON number; ``true``, text and NaN are none.

    Raises
    ------
    BadRowError : with ``reason``.
    """
    if type(value) is int:  # bool is a subclass; JSON's integers have no limit, floats have
        return value if abs(value) <= 10 * LARGEST_COUNT else math.inf if value > 0 else -math.inf
    if type(value) is float and not math.isnan(value):
        return value
    raise BadRowError(reason)


def relative_time(cell: bytes, epoch_s: float) -> float:
    """Read a time in seconds since the trace's own start, which stands for ``epoch_s``.

    Raises
    ------
    BadRowError : ``bad_time``.
    """
    return since_epoch(_number(cell, DropReason.BAD_TIME), epoch_s)


def since_epoch(offset_s: float, epoch_s: float) -> float:
    """Add a relative time to the moment it is relative to.

    Raises
    ------
    BadRowError : ``bad_time``; it is negative, or leads out of the years that a message may carry.
    """
    time_s = epoch_s + offset_s
    if offset_s < 0 or not EARLIEST_S <= time_s <= LATEST_S:
        raise BadRowError(DropReason.BAD_TIME)
    return time_s


class IsoTimeParser:
    """Reads ``2024-05-10 00:00:00.009930+00:00``: any fraction or none, any offset or none, which means UTC.

    Rows come in bursts within a minute, so minutes are looked up and only the seconds are read.
    """

    def __init__(self) -> None:
        self._minutes: dict[bytes, float] = {}

    def __call__(self, cell: bytes) -> float:
        """Return the moment, s since the epoch, exact to the float's own resolution (0.24 µs).

        Raises
        ------
        BadRowError : ``bad_time``.
        """
        minute_s = self._minutes.get(cell[:16])
        if minute_s is not None:  # nearly every row of every trace: ":03.979960", with or without "+00:00"
            seconds = cell[16:].removesuffix(b"+00:00")
            if (
                seconds[3:4] == b"."
                and seconds[:2] in _SECONDS_BEGIN
                and seconds[2:3].isdigit()
                and seconds[4:].isdigit()
            ):
                return minute_s + float(seconds[1:])
        return self._parse_any(cell.strip())

    def _parse_any(self, cell: bytes) -> float:
        minute_s = self._minutes.get(cell[:16])
        if minute_s is None:
            minute_s = self._remember(cell[:16])
        matched = _SECONDS.fullmatch(cell, 16)
        if matched is None:
            raise BadRowError(DropReason.BAD_TIME)
        seconds_of_minute, sign, hours, minutes = matched.groups()
        time_s = minute_s + float(seconds_of_minute)
        if sign is not None:
            offset_s = int(hours) * 3600 + int(minutes) * 60
            time_s += offset_s if sign == b"-" else -offset_s
        if not EARLIEST_S <= time_s <= LATEST_S:
            raise BadRowError(DropReason.BAD_TIME)
        return time_s

    def _remember(self, minute: bytes) -> float:
        matched = _MINUTE.fullmatch(minute)
        if matched is None:
            raise BadRowError(DropReason.BAD_TIME)
        try:
            year, month, day, hour, minute_of_hour = (int(part) for part in matched.groups())
            minute_s = datetime(year, month, day, hour, minute_of_hour, tzinfo=UTC).timestamp()
        except ValueError:
            raise BadRowError(DropReason.BAD_TIME) from None
        if not EARLIEST_S <= minute_s < LATEST_S:
            return minute_s  # never kept: what is kept needs no further check without an offset
        if len(self._minutes) >= _MOST_MINUTES_KEPT:
            self._minutes.clear()
        self._minutes[minute] = minute_s
        return minute_s


def _number(cell: bytes, reason: DropReason) -> float:
    cell = cell.strip()
    if _NUMBER.fullmatch(cell) is None:
        raise BadRowError(reason)
    return float(cell)
