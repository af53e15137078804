"""The trace formats: found by the names of their columns, read by them in whatever order they stand.

=========  ==============================================================================================
Azure      ``TIMESTAMP`` (ISO 8601, UTC where it has no offset), ``ContextTokens``, ``GeneratedTokens``;
           the multimodal trace of 2025 adds ``NumImages``.
           github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023, 2024, AzureLMMInferenceDataset2025
BurstGPT   ``Timestamp`` (seconds from 0:00:00 of the first day), ``Request tokens``, ``Response tokens``,
           ``Model``, ``Log Type``; release 2.0 adds ``Session ID`` and ``Elapsed time``. No response tokens: failed.
           github.com/HPMLL/BurstGPT
Mooncake   JSON lines with ``timestamp`` (ms since the start), ``input_length``, ``output_length``, ``hash_ids``.
           github.com/kvcache-ai/Mooncake
=========  ==============================================================================================
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from controller.errors import TraceError
from replay.fields import IsoTimeParser, json_number, parse_count, relative_time, since_epoch, whole
from replay.rows import BadRowError, DropReason, TraceRow

RowParser = Callable[[bytes], TraceRow]
"""Reads one line, or raises :class:`~replay.rows.BadRowError`."""


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """A format with a header: which column holds what. Optional columns are used where they are there."""

    name: str
    time: str
    input_tokens: str
    output_tokens: str
    images: str | None = None
    model: str | None = None
    log_type: str | None = None
    is_time_relative: bool = False
    is_failed_without_output: bool = False

    @property
    def required(self) -> tuple[str, str, str]:
        """The columns without which it is not this format."""
        return self.time, self.input_tokens, self.output_tokens


AZURE = CsvFormat("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", images="NumImages")
BURSTGPT = CsvFormat(
    "BurstGPT",
    "Timestamp",
    "Request tokens",
    "Response tokens",
    model="Model",
    log_type="Log Type",
    is_time_relative=True,
    is_failed_without_output=True,
)
CSV_FORMATS = (AZURE, BURSTGPT)
MOONCAKE_NAME = "Mooncake"
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")

KNOWN_FORMATS = "; ".join(
    [f"{known.name} ({', '.join(known.required)})" for known in CSV_FORMATS]
    + [f"{MOONCAKE_NAME} JSON lines ({', '.join(MOONCAKE_KEYS)})"]
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one file are read. ``has_header``: the first line is none of them."""

    format_name: str
    has_header: bool
    parse: RowParser


def detect_layout(first_line: bytes, file: str, where: str, relative_epoch_s: float) -> Layout:
    """Tell the format of a file by its first line that is not blank.

    Parameters
    ----------
    first_line : without a byte order mark.
    file : name that the rows carry, for type maps.
    where : how an error names the file.
    relative_epoch_s : the moment that stands for 0 in formats whose times are relative, s since the epoch.

    Raises
    ------
    TraceError : the columns are those of no known format, or one that is needed is there twice.
    """
    if first_line.lstrip().startswith(b"{"):
        return _detect_json(first_line, file, where, relative_epoch_s)
    names = [cell.decode("utf-8", "replace").strip() for cell in _cells(first_line)]
    for known in CSV_FORMATS:
        if set(known.required) <= set(names):
            return Layout(known.name, True, _csv_parser(known, names, file, where, relative_epoch_s))
    raise TraceError(where, f"columns must be those of a known format: {KNOWN_FORMATS}", ", ".join(names))


def _detect_json(first_line: bytes, file: str, where: str, relative_epoch_s: float) -> Layout:
    try:
        first = _json_object(first_line)
    except BadRowError:
        first = None  # a damaged row like any other: the next ones tell
    if first is not None and not set(MOONCAKE_KEYS) <= first.keys():
        raise TraceError(where, f"keys must be those of a known format: {KNOWN_FORMATS}", ", ".join(first))
    return Layout(MOONCAKE_NAME, False, _mooncake_parser(file, relative_epoch_s))


def _csv_parser(
    known: CsvFormat, names: Sequence[str], file: str, where: str, relative_epoch_s: float
) -> RowParser:
    def position(column: str | None) -> int | None:
        if column is None or column not in names:
            return None
        if names.count(column) > 1:
            raise TraceError(where, f"column {column!r} must be there once", ", ".join(names))
        return names.index(column)

    time_at, input_at, output_at = (names.index(column) for column in known.required)
    for column in known.required:
        position(column)
    images_at, model_at, log_type_at = position(known.images), position(known.model), position(known.log_type)
    width = len(names)
    iso_time = IsoTimeParser()
    is_relative, drops_failed = known.is_time_relative, known.is_failed_without_output

    def parse(line: bytes) -> TraceRow:
        cells = _cells(line) if b'"' in line else line.rstrip(b"\r").split(b",")
        if len(cells) != width:
            raise BadRowError(DropReason.SHORT if len(cells) < width else DropReason.MALFORMED)
        time_s = relative_time(cells[time_at], relative_epoch_s) if is_relative else iso_time(cells[time_at])
        input_tokens = parse_count(cells[input_at])
        output_tokens = parse_count(cells[output_at])
        if drops_failed and output_tokens == 0:
            raise BadRowError(DropReason.FAILED)
        return TraceRow(
            time_s,
            input_tokens,
            output_tokens,
            0 if images_at is None else parse_count(cells[images_at]),
            file,
            "" if model_at is None else _text(cells[model_at]),
            "" if log_type_at is None else _text(cells[log_type_at]),
        )

    return parse


def _mooncake_parser(file: str, relative_epoch_s: float) -> RowParser:
    time_key, input_key, output_key = MOONCAKE_KEYS

    def parse(line: bytes) -> TraceRow:
        row = _json_object(line)
        try:
            time_ms, input_tokens, output_tokens = row[time_key], row[input_key], row[output_key]
        except KeyError:
            raise BadRowError(DropReason.SHORT) from None
        return TraceRow(
            since_epoch(json_number(time_ms, DropReason.BAD_TIME) / 1000.0, relative_epoch_s),
            whole(json_number(input_tokens, DropReason.NOT_A_NUMBER)),
            whole(json_number(output_tokens, DropReason.NOT_A_NUMBER)),
            file=file,
        )

    return parse


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRowError(DropReason.MALFORMED) from None
    if not isinstance(row, dict):
        raise BadRowError(DropReason.MALFORMED)
    return row


def _cells(line: bytes) -> list[bytes]:
    r"""Split a CSV line, quoted or not, ``\r`` off."""
    text = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
    try:
        cells = next(csv.reader([text], strict=True), [""])
    except csv.Error:
        raise BadRowError(DropReason.MALFORMED) from None
    return [cell.encode("utf-8", "surrogateescape") for cell in cells]


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "replace").strip()
