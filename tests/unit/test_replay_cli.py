"""`coxswain replay`: what it prints, what it sends, what it refuses, and by which exit code it says so."""

from __future__ import annotations

import functools
import gzip
import json
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from controller.cli import main
from replay import cli
from replay.cli import replay_command
from replay.replayer import Replayer
from schemas import RequestRateEvent, Topic

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,1000,100
2024-05-10 00:00:01+00:00,100,50
2024-05-10 00:00:01.5+00:00,100,-4
2024-05-10 00:00:02+00:00,50
2024-05-10 00:02:00+00:00,20,900
"""
BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
MAP = """\
rules:
  - {model: GPT-4, query_type: hard}
"""


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "conv.csv"
    path.write_text(AZURE)
    return path


@pytest.fixture
def burstgpt(tmp_path: Path) -> Path:
    path = tmp_path / "BurstGPT_1.csv.gz"
    path.write_bytes(gzip.compress(BURSTGPT.encode()))
    return path


@pytest.fixture
def type_map(tmp_path: Path) -> Path:
    path = tmp_path / "map.yaml"
    path.write_text(MAP)
    return path


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """A replay sets up logging for its process; the next test is another process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class RecordList:
    """Takes the records of a replay; ``before_append`` is called with how many there are."""

    def __init__(self, is_terminated_after: int | None = None) -> None:
        self.records: list[tuple[str, bytes]] = []
        self._is_terminated_after = is_terminated_after

    async def open(self) -> int:
        return 2

    async def append(self, topic: str, _partition: int, values: Sequence[bytes], _key: bytes | None) -> None:
        self.records += [(topic, value) for value in values]
        if self._is_terminated_after is not None and len(self.events) >= self._is_terminated_after:
            self._is_terminated_after = None
            os.kill(os.getpid(), signal.SIGTERM)

    async def close(self) -> None:
        pass

    @property
    def events(self) -> list[RequestRateEvent]:
        return [
            RequestRateEvent.model_validate_json(v)
            for topic, v in self.records
            if topic == Topic.REQUEST_RATE
        ]


class NeverOpened(RecordList):
    async def open(self) -> int:
        raise AssertionError("nothing was to be sent")


@pytest.fixture
def record_list(monkeypatch: pytest.MonkeyPatch) -> RecordList:
    records = RecordList()
    _replay_into(records, monkeypatch)
    return records


def _replay_into(records: RecordList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "Replayer", functools.partial(Replayer, record_log=records))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(replay_command, [str(arg) for arg in args])


def test_a_dry_run_tells_programs_what_is_in_a_file_and_where_each_row_went(azure: Path) -> None:
    result = run(azure, "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "rows": 5,
        "events": 3,
        "dropped": {"short": 1, "negative": 1},
        "first": "2024-05-10T00:00:00.009Z",
        "last": "2024-05-10T00:02:00.000Z",
        "input_tokens": 1120,
        "output_tokens": 1050,
    }
    assert result.stderr == ""


def test_a_dry_run_shows_people_the_types_and_an_example_of_each_reason(azure: Path) -> None:
    result = run(azure, "--dry-run")
    assert result.exit_code == 0
    words = result.stdout.split()
    for fact in (
        ("rows", "5"),
        ("summarization", "1"),
        ("translation", "1"),
        ("math_solving", "1"),
        ("negative", "1"),
    ):
        assert words[words.index(fact[0]) + 1] == fact[1]
    assert "first negative: conv.csv line 4: '2024-05-10 00:00:01.5+00:00,100,-4'" in result.stdout


def test_a_file_without_rows_is_read_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    shown = json.loads(run(path, "--dry-run", "--json").stdout)
    assert shown["rows"] == shown["events"] == 0
    assert shown["first"] is shown["last"] is None
    assert run(path, "--dry-run").exit_code == 0


def test_markup_in_a_file_is_shown_and_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n[red]never[/red],1,1\n")
    assert "[red]never[/red]" in run(path, "--dry-run").stdout


@pytest.mark.parametrize("limit", range(1, 8))
def test_a_limit_counts_requests_of_all_files_and_every_row_up_to_there_is_accounted_for(
    limit: int, azure: Path, burstgpt: Path
) -> None:
    shown = json.loads(
        run(azure, burstgpt, "--start", "2024-05-10", "--limit", str(limit), "--dry-run", "--json").stdout
    )
    assert shown["events"] == min(limit, 5)
    assert shown["rows"] == shown["events"] + sum(shown["dropped"].values())


def test_rows_that_a_map_does_not_name_are_dropped_as_unmapped(burstgpt: Path, type_map: Path) -> None:
    shown = json.loads(run(burstgpt, "--map", type_map, "--dry-run", "--json").stdout)
    assert shown["dropped"] == {"failed": 1, "unmapped": 1}
    assert (shown["rows"], shown["events"], shown["input_tokens"]) == (3, 1, 417)


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ([], "2026-01-01T00:00:05.000Z"),
        (["--start", "2023-05-01"], "2023-05-01T00:00:05.000Z"),
        (["--start", "2023-05-01T06:00:00+02:00"], "2023-05-01T04:00:05.000Z"),
    ],
)
def test_relative_times_begin_where_the_start_is_said_to_be(
    start: list[str], first: str, burstgpt: Path
) -> None:
    assert json.loads(run(burstgpt, *start, "--dry-run", "--json").stdout)["first"] == first


def test_the_generated_day_is_the_same_for_the_same_seed_and_grows_with_its_scale() -> None:
    def day(*args: str) -> dict[str, int]:
        shown: dict[str, int] = json.loads(run("generated", *args, "--dry-run", "--json").stdout)
        return shown

    small = day("--scale", "0.01", "--seed", "7")
    assert small == day("--scale", "0.01", "--seed", "7") != day("--scale", "0.01", "--seed", "8")
    assert 1.8 < day("--scale", "0.02")["events"] / small["events"] < 2.2
    assert day("--scale", "0.01", "--limit", "10")["events"] == 10


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["generated", "other.csv"],
        ["generated", "--map", "map.yaml"],
        ["conv.csv", "--seed", "1"],
        ["conv.csv", "--scale", "2"],
        ["generated", "--scale", "0"],
        ["generated", "--scale", "nan"],
        ["generated", "--seed", "-1"],
        ["generated", "--speed", "0"],
        ["generated", "--speed", "nan"],
        ["generated", "--speed", "inf"],
        ["generated", "--speed", "fast"],
        ["generated", "--limit", "0"],
        ["generated", "--heartbeat-s", "-1"],
        ["generated", "--heartbeat-s", "nan"],
        ["generated", "--drain-s", "inf"],
        ["generated", "--start", "yesterday"],
        ["generated", "--start", "1999-12-31"],
        ["generated", "--start", "2099-12-31T12:00:00"],
        ["generated", "--start", "0001-01-01T00:00:00+14:00"],
    ],
)
def test_bad_usage_is_told_on_stderr_with_exit_code_2(
    args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _replay_into(NeverOpened(), monkeypatch)
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert "rror: " in result.stderr
    assert result.stdout == ""


def test_a_file_of_no_known_format_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n1,2\n")
    result = run(path, "--dry-run", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    for part in (str(path), "num_prefill_tokens", "ContextTokens", "Request tokens", "input_length"):
        assert part in result.stderr


def test_a_missing_file_or_a_bad_map_is_refused_by_its_place(azure: Path, tmp_path: Path) -> None:
    missing = run(tmp_path / "none.csv", "--dry-run")
    assert (missing.exit_code, missing.stderr) == (2, f"error: {tmp_path / 'none.csv'}: no such file\n")
    bad_map = tmp_path / "bad.yaml"
    bad_map.write_text("rules:\n  - {query_type: hard, colour: red}\n")
    refused = run(azure, "--map", bad_map, "--dry-run")
    assert refused.exit_code == 2
    assert "rules.0.colour" in refused.stderr


def test_a_replay_sends_the_requests_and_proves_what_is_not_asked_for_idle(
    azure: Path, record_list: RecordList
) -> None:
    result = run(azure, "--speed", "max", "--json")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    counts = Counter(event.count for event in record_list.events)
    assert counts == {1: shown["events"], 0: shown["replay"]["heartbeats"]}
    assert shown["replay"]["is_complete"]
    assert shown["replay"]["sent"] == len(record_list.events)
    assert shown["replay"]["by_type"] == {"summarization": 1, "translation": 1, "math_solving": 1}
    assert {event.query_type for event in record_list.events if event.count == 0} == {
        "summarization", "code_generation", "translation", "math_solving", "image_generation", "video_generation",
    }  # fmt: skip


def test_with_a_map_of_ones_own_heartbeats_speak_for_its_types_only(
    burstgpt: Path, type_map: Path, record_list: RecordList
) -> None:
    assert run(burstgpt, "--map", type_map, "--speed", "max").exit_code == 0
    assert {event.query_type for event in record_list.events} == {"hard"}


def test_without_heartbeats_only_requests_are_sent(azure: Path, record_list: RecordList) -> None:
    result = run(azure, "--speed", "max", "--heartbeat-s", "0", "--limit", "2")
    assert [event.count for event in record_list.events] == [1, 1]
    assert "replayed 2 requests and 0 heartbeats" in result.stdout


def test_a_replay_that_is_terminated_ends_after_its_step_and_says_how_far_it_came(
    azure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = RecordList(is_terminated_after=2)
    _replay_into(records, monkeypatch)
    result = run(azure, "--speed", "max", "--heartbeat-s", "0", "--json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)["replay"]
    assert not shown["is_complete"]
    assert shown["sent"] == len(records.events) == 2


def test_an_unreachable_broker_is_one_clear_failure(azure: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run(azure, "--bootstrap", address)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert address in result.stderr.splitlines()[-1]


def test_it_is_a_command_of_coxswain_with_all_its_options_and_the_settings() -> None:
    ours = main.get_command(click.Context(main), "replay")
    assert ours is not None
    names = {param.name for param in ours.params}
    assert names - {param.name for param in replay_command.params} == {"config"}
    assert names >= {param.name for param in replay_command.params}


@pytest.mark.traces
@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("azure_2023/AzureLLMInferenceTrace_code.csv", 8_819),
        ("azure_2023/AzureLLMInferenceTrace_conv.csv", 19_366),
        ("mooncake/synthetic_trace.jsonl", 3_993),
        ("servegen_day/*.csv.gz", 396_565),
    ],
)
def test_every_row_of_the_real_traces_becomes_a_request(pattern: str, rows: int) -> None:
    folder = os.environ.get("COXSWAIN_TRACES")
    if not folder:
        pytest.skip("COXSWAIN_TRACES names no folder of traces")
    result = run(*sorted(Path(folder).glob(pattern)), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["rows"], shown["events"], shown["dropped"]) == (rows, rows, {})
