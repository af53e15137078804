"""Rows are read from whatever people keep traces in, in order of time, and none is lost without being counted."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest

from controller.errors import TraceError
from replay.lines import LONGEST_LINE_BYTES
from replay.reader import TraceFile, read_traces
from replay.rows import Drops, TraceRow

HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
MIDNIGHT_S = 1_715_299_200.0  # 2024-05-10


def write(path: Path, content: bytes) -> TraceFile:
    path.write_bytes(content)
    return TraceFile(path)


def line(second: float, input_tokens: object = 1, output_tokens: object = 2) -> bytes:
    minutes, seconds = divmod(second, 60)
    return f"2024-05-10 00:{minutes:02.0f}:{seconds:09.6f}+00:00,{input_tokens},{output_tokens}\n".encode()


def read(trace: TraceFile) -> tuple[list[TraceRow], Drops]:
    drops = Drops()
    return list(trace.rows(drops)), drops


GOOD = HEADER + line(0.5, 10, 20) + line(1, 11, 21)
MEMBERS = gzip.compress(GOOD[:60]) + gzip.compress(GOOD[60:])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD, id="plain"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="byte order mark"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(GOOD[:-1], id="no newline at the end"),
        pytest.param(GOOD.replace(b"\n", b"\r\n")[:-2], id="CRLF, none at the end"),
        pytest.param(b"\n" + GOOD.replace(b"\n", b"\n\n \n"), id="blank lines"),
        pytest.param(gzip.compress(GOOD), id="gzip"),
        pytest.param(gzip.compress(b"\xef\xbb\xbf" + GOOD), id="gzip with a byte order mark"),
        pytest.param(MEMBERS, id="gzip in two members"),
        pytest.param(MEMBERS + bytes(512), id="gzip with padding"),
        pytest.param(GOOD.replace(b",10,20", b',"10", 20 '), id="quotes and spaces"),
        pytest.param(GOOD.replace(b",10,20", b",10.0,2e1"), id="numbers written as floats"),
        pytest.param(GOOD.replace(b"TIMESTAMP,C", b'"TIMESTAMP", C'), id="quoted header"),
        pytest.param(GOOD.replace(b"00:00:00.5", b"01:30:00.5").replace(b"0+00:00,10", b"0+01:30,10"), id="offset"),
        pytest.param(GOOD.replace(b" 00:", b"T00:").replace(b"+00:00", b"Z"), id="ISO 8601 proper"),
    ],
)  # fmt: skip
def test_the_same_rows_are_read_however_the_file_is_written(content: bytes, tmp_path: Path) -> None:
    rows, drops = read(write(tmp_path / "trace.csv", content))  # the name says nothing of compression
    assert [(row.time_s - MIDNIGHT_S, row.input_tokens, row.output_tokens) for row in rows] == [
        (0.5, 10, 20),
        (1.0, 11, 21),
    ]
    assert (drops.rows, drops.dropped) == (2, 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"2024-05-10 00:00:00+00:00,10", "short"),
        (b"garbage", "short"),
        (b"2024-05-10 00:00:00+00:00,10,20,30", "malformed"),
        (b'2024-05-10 00:00:00+00:00,"10,20', "malformed"),
        (b"2024-05-10 00:00:00+00:00,-1,20", "negative"),
        (b"2024-05-10 00:00:00+00:00,10,-0.5", "negative"),
        (b"2024-05-10 00:00:00+00:00,ten,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,12.5,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,nan,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,inf,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,1_000,20", "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,0x10,20", "not_a_number"),
        ("2024-05-10 00:00:00+00:00,٣,20".encode(), "not_a_number"),
        (b"2024-05-10 00:00:00+00:00,1e999,20", "too_large"),
        (b"2024-05-10 00:00:00+00:00,%d,20" % (10**15 + 1), "too_large"),
        (b"2024-05-10 00:00:60+00:00,10,20", "bad_time"),
        (b"2024-02-30 00:00:00+00:00,10,20", "bad_time"),
        (b"2024-05-10 24:00:00+00:00,10,20", "bad_time"),
        (b"2024-05-10,10,20", "bad_time"),
        (b",10,20", "bad_time"),
        (b"1715299200,10,20", "bad_time"),
        (b"1999-12-31 23:59:59+00:00,10,20", "bad_time"),
        (b"2100-01-01 00:00:01+00:00,10,20", "bad_time"),
        (b"2024-05-10 00:00:00.+00:00,10,20", "bad_time"),
        (b"x" * (LONGEST_LINE_BYTES + 100_000), "too_long"),
    ],
)
def test_a_bad_row_is_dropped_and_counted_and_shown_and_its_neighbours_are_kept(
    row: bytes, reason: str, tmp_path: Path
) -> None:
    rows, drops = read(write(tmp_path / "trace.csv", HEADER + line(1) + row + b"\n" + line(2)))
    assert [r.time_s - MIDNIGHT_S for r in rows] == [1, 2]
    assert (drops.rows, drops.as_dict()) == (3, {reason: 1})
    (example,) = drops.examples.values()
    assert example.startswith("trace.csv")
    if reason != "too_long":
        assert "line 3" in example


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"[1, 2, 3]", "malformed"),
        (b'{"timestamp": 0, "input_length": 1}', "short"),
        (b'{"timestamp": -1, "input_length": 1, "output_length": 1}', "bad_time"),
        (b'{"timestamp": "now", "input_length": 1, "output_length": 1}', "bad_time"),
        (b'{"timestamp": 1e300, "input_length": 1, "output_length": 1}', "bad_time"),
        (b'{"timestamp": 0, "input_length": true, "output_length": 1}', "not_a_number"),
        (b'{"timestamp": 0, "input_length": NaN, "output_length": 1}', "not_a_number"),
        (b'{"timestamp": 0, "input_length": 1, "output_length": 1.5}', "not_a_number"),
        (b'{"timestamp": 0, "input_length": 1, "output_length": Infinity}', "too_large"),
        (b'{"timestamp": 0, "input_length": 1, "output_length": 1%s}' % (b"0" * 400), "too_large"),
        (b'{"timestamp": 0, "input_length": -1, "output_length": 1}', "negative"),
    ],
)
def test_a_bad_json_row_is_dropped_even_where_it_is_the_first(
    row: bytes, reason: str, tmp_path: Path
) -> None:
    good = b'{"timestamp": 5, "input_length": 1, "output_length": 1}\n'
    where = (
        good + row if row.startswith((b"[", b'{"timestamp": 0, "input_length": 1}')) else row + b"\n" + good
    )
    rows, drops = read(write(tmp_path / "trace.jsonl", where))
    assert (len(rows), drops.rows, drops.as_dict()) == (1, 2, {reason: 1})


def test_no_tokens_at_all_is_a_request_like_any_other(tmp_path: Path) -> None:
    rows, drops = read(write(tmp_path / "trace.csv", HEADER + line(0, 0, "0.0")))
    assert [(row.input_tokens, row.output_tokens) for row in rows] == [(0, 0)]
    assert drops.dropped == 0


def test_rows_out_of_order_come_in_order_of_time_and_those_of_one_moment_as_they_stand(
    tmp_path: Path,
) -> None:
    numbers = random.Random(3)
    seconds = [numbers.randrange(600) for _ in range(2000)]
    content = HEADER + b"".join(line(second, number) for number, second in enumerate(seconds))
    trace = write(tmp_path / "trace.csv", content)
    rows, drops = read(trace)
    assert not trace.survey.is_sorted
    assert [(row.time_s - MIDNIGHT_S, row.input_tokens) for row in rows] == sorted(
        (second, number) for number, second in enumerate(seconds)
    )
    assert drops.rows == 2000


def test_sorting_keeps_images_and_texts_with_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "BurstGPT.csv"
    header = b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    late_first = write(path, header + b"9,GPT-4,1,2,3,API log\n3,ChatGPT,4,5,9,Conversation log\n")
    rows, _ = read(late_first)
    assert [row[1:] for row in rows] == [
        (4, 5, 0, path.name, "ChatGPT", "Conversation log"),
        (1, 2, 0, path.name, "GPT-4", "API log"),
    ]


def test_several_files_are_one_trace_in_order_of_time(tmp_path: Path) -> None:
    for name, seconds in (("a.csv", (1, 3, 3)), ("b.csv", (3, 0, 4)), ("c.csv", ())):
        (tmp_path / name).write_bytes(HEADER + b"".join(line(second) for second in seconds))
    drops = Drops()
    rows = list(read_traces([tmp_path / name for name in ("a.csv", "b.csv", "c.csv")], drops))
    assert [(row.time_s - MIDNIGHT_S, row.file) for row in rows] == [
        (0, "b.csv"), (1, "a.csv"), (3, "a.csv"), (3, "a.csv"), (3, "b.csv"), (4, "b.csv"),
    ]  # fmt: skip
    assert drops.rows == 6


@pytest.fixture(scope="module")
def compressed() -> bytes:
    numbers = random.Random(5)
    return gzip.compress(
        HEADER
        + b"".join(line(s / 50, numbers.randrange(9999), numbers.randrange(999)) for s in range(20_000))
    )


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_gives_the_whole_rows_before_the_cut_and_counts_one_for_the_rest(
    kept: float, compressed: bytes, tmp_path: Path
) -> None:
    whole, _ = read(write(tmp_path / "trace.csv.gz", compressed))
    rows, drops = read(write(tmp_path / "trace.csv.gz", compressed[: int(len(compressed) * kept)]))
    assert rows == whole[: len(rows)]
    assert kept * 0.9 < len(rows) / len(whole) < kept * 1.1
    assert drops.as_dict() == {"corrupt": 1}
    assert drops.rows == len(rows) + 1


def test_damage_in_a_gzip_costs_what_is_behind_it_and_little_before(
    compressed: bytes, tmp_path: Path
) -> None:
    whole, _ = read(write(tmp_path / "trace.csv.gz", compressed))
    at = len(compressed) // 2
    rows, drops = read(write(tmp_path / "trace.csv.gz", compressed[:at] + bytes(64) + compressed[at + 64 :]))
    good = sum(row == expected for row, expected in zip(rows, whole, strict=False))
    assert good > 0.4 * len(whole)
    assert drops.as_dict()["corrupt"] == 1
    assert drops.rows == len(rows) + drops.dropped


def test_a_wrong_checksum_is_told_though_every_row_was_read(compressed: bytes, tmp_path: Path) -> None:
    rows, drops = read(write(tmp_path / "trace.csv.gz", compressed[:-8] + bytes(8)))
    assert (len(rows), drops.as_dict()) == (20_000, {"corrupt": 1})


def test_a_gzip_that_is_damaged_before_its_first_line_is_refused(compressed: bytes, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="before the first line"):
        write(tmp_path / "trace.csv.gz", compressed[:12])


def test_a_file_in_order_is_read_in_little_memory_however_long_it_is(tmp_path: Path) -> None:
    trace = write(tmp_path / "long.csv.gz", gzip.compress(HEADER + line(7) * 30_000))
    tracemalloc.start()
    try:
        count = sum(1 for _ in trace.rows(Drops()))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 30_000
    assert peak_bytes < 3 << 20  # 30,000 rows held would be more than 6 MB
