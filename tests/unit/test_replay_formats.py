"""Each public format is read as its publisher writes it, by the names of its columns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.errors import TraceError
from replay.reader import RELATIVE_EPOCH_S, TraceFile
from replay.rows import Drops, TraceRow

TRACES = Path(__file__).parents[1] / "data" / "traces"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


EXPECTED = {
    "AzureLLMInferenceTrace_code.csv": (
        "Azure",
        [
            (at("2023-11-16 18:00:00.123456") + 7e-7, 4100, 12, 0, "", ""),
            (at("2023-11-16 18:00:01.999999") + 9e-7, 900, 7, 0, "", ""),
            (at("2023-11-16 18:01:00"), 64, 30, 0, "", ""),
        ],
    ),
    "AzureLLMInferenceTrace_conv_1week.csv": (
        "Azure",
        [
            (at("2024-05-10 00:00:00.009930"), 1200, 80, 0, "", ""),
            (at("2024-05-10 00:00:00.009930"), 1210, 81, 0, "", ""),
            (at("2024-05-10 00:00:03"), 40, 45, 0, "", ""),
            (at("2024-05-10 00:00:03.500000"), 300, 900, 0, "", ""),
        ],
    ),
    "AzureLMMInferenceTrace_multimodal.csv.gz": (
        "Azure",
        [
            (at("2024-10-15 12:00:00.250000"), 1500, 60, 2, "", ""),
            (at("2024-10-15 12:00:01"), 700, 50, 0, "", ""),
        ],
    ),
    "BurstGPT_1.csv": (
        "BurstGPT",
        [
            (RELATIVE_EPOCH_S + 5, 410, 22, 0, "ChatGPT", "Conversation log"),
            (RELATIVE_EPOCH_S + 62, 80, 410, 0, "GPT-4", "API log"),
        ],
    ),
    "BurstGPT_3.csv": (
        "BurstGPT",
        [
            (RELATIVE_EPOCH_S + 86400, 900, 310, 0, "GPT-4", "Conversation log"),
            (RELATIVE_EPOCH_S + 86401.5, 35, 20, 0, "ChatGPT", "API log"),
        ],
    ),
    "conversation_trace.jsonl": (
        "Mooncake",
        [
            (RELATIVE_EPOCH_S, 6700, 500, 0, "", ""),
            (RELATIVE_EPOCH_S + 1.5, 12, 26, 0, "", ""),
        ],
    ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_public_format_is_told_by_its_columns_and_read_row_by_row(name: str) -> None:
    format_name, expected = EXPECTED[name]
    drops = Drops()
    trace = TraceFile(TRACES / name)
    rows = list(trace.rows(drops))
    assert trace.format_name == format_name
    assert [row.time_s for row in rows] == pytest.approx([row[0] for row in expected], abs=3e-7, rel=0)
    assert [row[1:] for row in rows] == [(*row[1:4], name, *row[4:]) for row in expected]
    assert drops.rows == len(rows) + drops.dropped


def test_a_request_that_failed_is_dropped_and_counted_as_such() -> None:
    drops = Drops()
    list(TraceFile(TRACES / "BurstGPT_1.csv").rows(drops))
    assert drops.as_dict() == {"failed": 1}


def test_times_relative_to_a_trace_s_own_start_are_put_where_the_caller_says() -> None:
    rows = TraceFile(TRACES / "BurstGPT_1.csv", relative_epoch_s=at("2025-07-01")).rows(Drops())
    assert next(rows).time_s == at("2025-07-01 00:00:05")


def test_columns_are_found_by_name_in_any_order_among_others(tmp_path: Path) -> None:
    path = tmp_path / "shuffled.csv"
    path.write_text("note,GeneratedTokens,TIMESTAMP,ContextTokens\nfirst,3,2024-05-10 00:00:00Z,2\n")
    assert list(TraceFile(path).rows(Drops())) == [TraceRow(at("2024-05-10"), 2, 3, file="shuffled.csv")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"time,tokens\n1,2\n", "time, tokens"),
        (b"TIMESTAMP,ContextTokens\n", "TIMESTAMP, ContextTokens"),
        (b'{"timestamp": 0, "input_length": 3}\n', "timestamp, input_length"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens\n", "must be there once"),
        (b'TIMESTAMP,"ContextTokens\n', "columns must be readable"),
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"x" * (3 << 20), "a line above"),
    ],
)
def test_an_unknown_file_is_refused_with_what_it_holds_and_what_is_known(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"odd\.csv") as caught:
        TraceFile(path)
    assert told in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        TraceFile(tmp_path / "missing.csv")
    with pytest.raises(TraceError, match="is a folder"):
        TraceFile(tmp_path)
