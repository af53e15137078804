"""What is known of the fleet: which record is in force, and what is refused, in which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.catalog import read_catalog
from controller.domain.entities import DeploymentKey
from controller.stream.fleet_news import FleetNews, NewsRecord
from schemas import DeadLetter
from tests.small_catalog import small_catalog

T = 1_772_582_400.0
FILE = read_catalog(small_catalog())
CATALOGS, STATES = "llm.catalog.v1", "llm.fleet-state.v1"
KEY = DeploymentKey("m", "gpu", 1, 1)
REPLICA = {"model": "m", "gpu_tier": "gpu", "tp": 1, "pp": 1, "ready": 3}


def fresh() -> FleetNews:
    return FleetNews(FILE, validity_s=600.0, max_skew_s=60.0)


def told(news: FleetNews, topic: str, said: Any, offset: int = 0, key: bytes = b"main") -> DeadLetter | None:
    value = said if said is None or isinstance(said, bytes) else json.dumps(said).encode()
    return news.take(NewsRecord(topic, 0, offset, key, value))


def state(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "fleet-state/1",
        "fleet": "main",
        "as_of": T,
        "replicas": [REPLICA],
        "gpus_available": {"gpu": 5},
    } | changes


def test_the_newest_catalog_of_the_topic_takes_the_place_of_the_files_until_it_is_withdrawn() -> None:
    news = fresh()
    assert news.catalog is FILE
    assert told(news, CATALOGS, small_catalog(("chat", "code"))) is None
    with capture_logs() as logs:
        assert told(news, CATALOGS, small_catalog(("code",)), offset=1) is None
    assert news.catalog.type_names == ("code",)
    (line,) = logs
    assert (line["event"], line["source"]) == ("catalog_in_force", "llm.catalog.v1@1")
    assert (line["query_types_added"], line["query_types_removed"]) == ([], ["chat"])
    assert told(news, CATALOGS, None, offset=2) is None
    assert news.catalog is FILE


def test_the_same_catalog_again_is_no_news() -> None:
    news = fresh()
    with capture_logs() as logs:
        assert told(news, CATALOGS, small_catalog()) is None
    assert (news.catalog, logs) == (FILE, [])


BAD_CATALOGS = [
    (b"", "empty", "record: must not be empty"),
    (b"{", "invalid", "not JSON"),
    (b"\xff", "invalid", "UTF-8"),
    (b"[" * 100_000, "invalid", "nested too deeply"),
    (json.dumps(small_catalog()).encode()[:-1] + b', "fleet": "main"}', "invalid", "stand twice"),
    (b'{"n": ' + b"9" * 5000 + b"}", "invalid", "not JSON"),
    ([1], "invalid", "record"),
    (small_catalog(surprise=1), "invalid", "surprise"),
    (small_catalog(budget_usd_per_h=-1), "invalid", "budget_usd_per_h: Input should be greater than or equal to 0"),
    (small_catalog(budget_usd_per_h=10**400), "invalid", "budget_usd_per_h"),
    (small_catalog(schema="catalog/2"), "invalid", "schema"),
    (small_catalog(budget_usd_per_h=1e16), "invalid", "budget_usd_per_h: must be 0, or from 1e-15 to 1e+15, got 1e+16"),
    (small_catalog(unmet_penalty_usd=1e-300), "invalid", "query_types[0].unmet_penalty_usd: must be 0, or"),
    (small_catalog(fleet="other"), "other_fleet", "fleet: must be 'main', got 'other'"),
    (
        small_catalog(("chat", "chat")),
        "inconsistent",
        "query_types: no name may stand twice, got 'chat'",
    ),
    (
        small_catalog(
            models=[{"name": "m", "params_b": 1, "weights_gb": 1, "base_error": {"chat": 0.1, "b": 0.1}}]
        ),
        "inconsistent",
        "models[0].base_error: names a query type that does not exist, got 'b'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "reason", "words"), BAD_CATALOGS, ids=[words for _, _, words in BAD_CATALOGS]
)
def test_a_bad_catalog_is_refused_by_name_and_changes_nothing(said: Any, reason: str, words: str) -> None:
    news = fresh()
    told(news, CATALOGS, small_catalog(("chat", "code")))
    before = news.catalog
    with capture_logs() as logs:
        letter = told(news, CATALOGS, said, offset=7)
    assert news.catalog is before
    assert letter is not None
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, CATALOGS, 0, 7)
    assert words in letter.detail
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    assert base64.b64decode(letter.raw_base64) == raw[: 64 * 1024]
    (line,) = logs
    assert (line["event"], line["log_level"], line["offset"]) == ("catalog_refused", "warning", 7)
    assert (line["reason"], line["error"][:2000]) == (reason, letter.detail)


def test_a_record_without_a_value_withdraws_the_catalog_of_its_own_fleet_only() -> None:
    news = fresh()
    told(news, CATALOGS, small_catalog(("chat", "code")))
    letter = told(news, CATALOGS, None, key=b"other")
    assert letter is not None
    assert letter.reason == "empty"
    assert news.catalog.type_names == ("chat", "code")


def test_what_runs_is_what_is_ready_and_what_is_on_its_way() -> None:
    news = fresh()
    assert news.fleet(T) is None
    assert told(news, STATES, state(replicas=[REPLICA | {"pending": 2}])) is None
    fleet = news.fleet(T)
    assert fleet is not None
    assert (dict(fleet.replicas), dict(fleet.gpus_available), fleet.as_of_s) == ({KEY: 5}, {"gpu": 5}, T)


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (b"nonsense", "invalid", "not JSON"),
        (state(gpus_available={"gpu": -1}), "invalid", "gpus_available.gpu"),
        (state(replicas=[REPLICA | {"ready": 1.5}]), "invalid", "replicas.0.ready"),
        (state(fleet="other"), "other_fleet", "must be 'main'"),
        (state(replicas=[REPLICA, REPLICA]), "inconsistent", "replicas[1]: no deployment may stand twice"),
        (None, "empty", "must not be empty"),
    ],
)
def test_a_bad_fleet_state_is_refused_and_the_one_before_stays(said: Any, reason: str, words: str) -> None:
    news = fresh()
    told(news, STATES, state())
    with capture_logs() as logs:
        letter = told(news, STATES, said, offset=3)
    assert letter is not None
    assert letter.reason == reason
    assert words in letter.detail
    assert [line["event"] for line in logs] == ["fleet_state_refused"]
    fleet = news.fleet(T)
    assert fleet is not None
    assert dict(fleet.replicas) == {KEY: 3}


@pytest.mark.parametrize(("age_s", "is_believed"), [(-61, False), (-60, True), (600, True), (601, False)])
def test_a_fleet_state_is_believed_for_its_time_and_ignored_with_one_line_else(
    age_s: float, is_believed: bool
) -> None:
    news = fresh()
    told(news, STATES, state())
    with capture_logs() as logs:
        believed = [news.fleet(T + age_s) is not None for _ in range(3)]
    assert believed == [is_believed] * 3
    assert [line["event"] for line in logs] == ([] if is_believed else ["fleet_state_ignored"])
    told(news, STATES, state(as_of=T + age_s), offset=1)
    assert news.fleet(T + age_s) is not None
