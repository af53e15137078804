"""The real traces are read whole, and the generated day has their figures. They lie where COXSWAIN_TRACES points."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from replay.day_figures import FITTED
from replay.day_profile import DayProfile, fit_day_profile
from replay.generate import DAY_START_S, GeneratedDay
from replay.mapping import DEFAULT_MAP, map_rows
from replay.reader import TraceFile, read_traces
from replay.rows import Drops, Request

pytestmark = [pytest.mark.traces, pytest.mark.slow]

SERVEGEN = {
    "summarization": ("summarization_24h.csv.gz", 96_552),
    "code_generation": ("codegen_24h.csv.gz", 120_269),
    "translation": ("translation_24h.csv.gz", 143_830),
    "math_solving": ("math_24h.csv.gz", 35_914),
}


@pytest.fixture(scope="module")
def traces() -> Path:
    folder = os.environ.get("COXSWAIN_TRACES")
    if not folder:
        pytest.skip("COXSWAIN_TRACES does not name the folder of the real traces")
    return Path(folder)


@pytest.fixture(scope="module")
def generated() -> dict[str, list[Request]]:
    by_type: dict[str, list[Request]] = {}
    for request in GeneratedDay(seed=2):
        by_type.setdefault(request.query_type, []).append(request)
    return by_type


@pytest.mark.parametrize(
    ("name", "rows", "format_name"),
    [
        ("azure_2023/AzureLLMInferenceTrace_code.csv", 8_819, "Azure"),
        ("azure_2023/AzureLLMInferenceTrace_conv.csv", 19_366, "Azure"),
        ("mooncake/synthetic_trace.jsonl", 3_993, "Mooncake"),
    ],
)
def test_a_real_trace_is_read_without_a_drop(name: str, rows: int, format_name: str, traces: Path) -> None:
    drops = Drops()
    trace = TraceFile(traces / name)
    assert sum(1 for _ in trace.rows(drops)) == rows
    assert (trace.format_name, drops.rows, drops.dropped) == (format_name, rows, 0)
    assert trace.survey.is_sorted


def test_a_day_in_four_files_is_one_trace_and_each_file_its_own_query_type(traces: Path) -> None:
    drops = Drops()
    paths = [traces / "servegen_day" / name for name, _ in SERVEGEN.values()]
    types: Counter[str] = Counter()
    before_s = 0.0
    for request in map_rows(read_traces(paths, drops), DEFAULT_MAP, drops):
        assert request.time_s >= before_s
        before_s = request.time_s
        types[request.query_type] += 1
    assert types == {query_type: rows for query_type, (_, rows) in SERVEGEN.items()}
    assert (drops.rows, drops.dropped) == (396_565, 0)


@pytest.mark.parametrize("profile", FITTED, ids=lambda profile: profile.query_type)
def test_the_figures_in_the_code_are_what_the_fit_gives(profile: DayProfile, traces: Path) -> None:
    name, _ = SERVEGEN[profile.query_type]
    rows = TraceFile(traces / "servegen_day" / name).rows(Drops())
    fitted = fit_day_profile(profile.query_type, rows, DAY_START_S)
    assert fitted.requests_per_h == profile.requests_per_h
    assert fitted.burstiness == pytest.approx(profile.burstiness, abs=0.0005)
    assert fitted.input_quantiles == profile.input_quantiles
    assert fitted.output_quantiles == profile.output_quantiles


@pytest.mark.parametrize("query_type", sorted(SERVEGEN))
def test_the_generated_day_has_the_rates_and_token_means_of_the_real_one(
    query_type: str, traces: Path, generated: dict[str, list[Request]]
) -> None:
    """Tolerances: 25 % and four standard deviations of an hour's count; 5 % of a day's; 6 % of a token mean."""
    name, _ = SERVEGEN[query_type]
    real = list(TraceFile(traces / "servegen_day" / name).rows(Drops()))
    drawn = generated[query_type]
    per_h = [
        np.bincount([int((row.time_s - DAY_START_S) // 3600) for row in rows], minlength=24)
        for rows in (real, drawn)
    ]
    assert (np.abs(per_h[1] - per_h[0]) < 0.25 * per_h[0] + 4 * np.sqrt(per_h[0])).all()
    assert len(drawn) == pytest.approx(len(real), rel=0.05)
    for tokens in ("input_tokens", "output_tokens"):
        means = [np.mean([getattr(row, tokens) for row in rows]) for rows in (real, drawn)]
        assert means[1] == pytest.approx(means[0], rel=0.06)
