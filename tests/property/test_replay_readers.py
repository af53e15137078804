"""Readers on any bytes: what cannot be read is refused or counted, what can be is in order, and no row is lost."""

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controller.errors import TraceError
from replay.mapping import DEFAULT_MAP, TypeMap, map_rows
from replay.reader import read_traces
from replay.rows import Drops, TraceRow
from schemas.base import EARLIEST_S, LATEST_S

AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens"
MULTIMODAL = b"TIMESTAMP,NumImages,ContextTokens,GeneratedTokens"
BURSTGPT = b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
MOONCAKE = b'{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": []}'
HEADERS = (AZURE, MULTIMODAL, BURSTGPT, MOONCAKE)
LARGEST = 10**15
# Files are written and read: how long that takes is the machine's affair.
any_time = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

numbers = st.one_of(
    st.integers(-5, 5000).map(str),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["", " 7 ", "1e400", "-0", "12.0", "1_000", "٣", "nan", "0x10", "1" * 5000, "+4", ".5", "5."]
    ),
)
times = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: f"{moment}+00:00"),
    st.sampled_from(
        [
            "2024-05-10 00:00:00",
            "2024-02-30 00:00:00",
            "2024-05-10T00:00:00.1234567Z",
            "2024-05-10 00:00:00.5+05:30",
        ]
    ),
    numbers,
)
cells = st.one_of(times, numbers, st.text(max_size=5), st.just('"quoted, cell"'), st.just('"open'))
csv_lines = st.lists(cells, max_size=9).map(lambda row: ",".join(row).encode("utf-8", "replace"))
plausible_lines = st.one_of(
    st.tuples(times, numbers, numbers).map(lambda row: ",".join(row).encode()),
    st.tuples(numbers, numbers, numbers).map(
        lambda row: (
            b'{"timestamp": %s, "input_length": %s, "output_length": %s}' % tuple(c.encode() for c in row)
        )
    ),
)
lines = st.one_of(csv_lines, plausible_lines, st.binary(max_size=40))
endings = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def trace_files(draw: st.DrawFn) -> bytes:
    """A file with a header that is known, rows of all sorts, and what editors and pipes do to files."""
    ending = draw(endings)
    content = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + ending.join(
        [draw(st.sampled_from(HEADERS)), *draw(st.lists(lines, max_size=12))]
    )
    content += draw(st.sampled_from([b"", ending, ending + ending]))
    if draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
        content = content[: draw(st.sampled_from([len(content), len(content) - 3, len(content) * 2 // 3]))]
    return content


def rows_of(contents: Sequence[bytes]) -> tuple[list[TraceRow], Drops]:
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, content in enumerate(contents):
            paths.append(Path(folder, f"{number}.csv"))
            paths[-1].write_bytes(content)
        drops = Drops()
        return list(read_traces(paths, drops)), drops


@any_time
@given(st.one_of(st.binary(max_size=200), trace_files()))
@example(b"\x1f\x8b")
@example(b"{")
@example(MOONCAKE.replace(b": 1", b": " + b"9" * 400))
@example(MOONCAKE.replace(b": 0", b": -" + b"9" * 400))
@example(MOONCAKE.replace(b": 1", b": " + b"[" * 100_000))
def test_any_bytes_are_read_or_refused_as_no_trace(content: bytes) -> None:
    try:
        rows, drops = rows_of([content])
    except TraceError:
        return
    assert drops.rows == len(rows) + drops.dropped
    assert set(drops.examples) == set(drops.by_reason)


@any_time
@given(trace_files())
@example(b"\n".join([AZURE, b"2024-05-10 00:00:00,-1,1", b"2024-05-10 00:00:00,1,1000000000000001"]))
@example(b"\n".join([AZURE, b"1999-12-31 23:59:59,1,1", b"2100-01-01 00:00:00.1,1,1"]))
def test_every_row_that_is_given_on_can_be_sent_as_an_event(content: bytes) -> None:
    try:
        rows, _ = rows_of([content])
    except TraceError:
        return
    for row in rows:
        assert EARLIEST_S <= row.time_s <= LATEST_S
        for count in row[1:4]:
            assert type(count) is int
            assert 0 <= count <= LARGEST


def azure_file(seconds: Sequence[float], first_tokens: int) -> bytes:
    """A row for each time, its number among all rows as its input tokens, so that each can be told apart."""
    rows = [
        b"2024-05-10 00:%02d:%09.6f+00:00,%d,1" % (second // 60, second % 60, first_tokens + number)
        for number, second in enumerate(seconds)
    ]
    return b"\n".join([AZURE, *rows])


def numbered(files: Sequence[Sequence[int]]) -> Iterator[tuple[bytes, list[tuple[float, int]]]]:
    first = 0
    for quarters in files:
        seconds = [quarter / 4 for quarter in quarters]
        yield azure_file(seconds, first), [(second, first + n) for n, second in enumerate(seconds)]
        first += len(seconds)


@any_time
@given(st.lists(st.lists(st.integers(0, 400), max_size=15), min_size=1, max_size=4))
def test_merged_files_are_what_a_stable_sort_of_all_rows_would_be(files: list[list[int]]) -> None:
    contents, written = zip(*numbered(files), strict=True)
    rows, drops = rows_of(contents)
    midnight_s = 1_715_299_200.0
    expected = sorted((row for file in written for row in file), key=lambda row: row[0])
    assert [(row.time_s - midnight_s, row.input_tokens) for row in rows] == expected
    assert drops.dropped == 0


@any_time
@given(
    trace_files(),
    st.sampled_from([DEFAULT_MAP, TypeMap.model_validate({"rules": [{"query_type": "x", "file": "no*"}]})]),
)
def test_each_row_that_is_seen_is_a_request_or_is_counted_under_one_reason(
    content: bytes, type_map: TypeMap
) -> None:
    drops = Drops()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.csv")
        path.write_bytes(content)
        try:
            requests = list(map_rows(read_traces([path], drops), type_map, drops))
        except TraceError:
            return
    assert drops.rows == len(requests) + drops.dropped


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@any_time
@given(st.data())
def test_cutting_a_compressed_file_short_loses_its_tail_and_nothing_before(
    ending: bytes, data: st.DataObject
) -> None:
    whole = azure_file(list(range(200)), 0).replace(b"\n", ending)
    packed = gzip.compress(whole, mtime=0)
    cut = data.draw(st.integers(1, len(packed) - 1))
    try:
        rows, drops = rows_of([packed[:cut]])
    except TraceError:
        return  # not even the header is left
    assert [row.input_tokens for row in rows] == list(range(len(rows)))
    assert drops.as_dict() == {"corrupt": 1}
