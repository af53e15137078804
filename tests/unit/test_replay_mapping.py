"""Rows become requests by the first rule that matches; a map that says something odd is refused by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import SettingsError
from replay.mapping import DEFAULT_MAP, load_type_map, map_rows, parse_type_map
from replay.rows import Drops, TraceRow


def mapped(text: str, *rows: TraceRow) -> tuple[list[str], Drops]:
    drops = Drops(rows=len(rows))
    return [request.query_type for request in map_rows(rows, parse_type_map(text, "m.yaml"), drops)], drops


def row(input_tokens: int = 100, output_tokens: int = 100, **labels: object) -> TraceRow:
    return TraceRow(1.7e9, input_tokens, output_tokens)._replace(**labels)


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        ('file: "conv*"', {"file": "CONV_1.csv"}, {"file": "code.csv"}),
        ('file: ["a*", "*z"]', {"file": "xz"}, {"file": "xy"}),
        ("model: GPT-4", {"model": "GPT-4"}, {"model": "GPT-4o"}),
        ('log_type: ["API log", "Batch log"]', {"log_type": "API log"}, {"log_type": "api log"}),
        ("input_tokens: {min: 5}", {"input_tokens": 5}, {"input_tokens": 4}),
        ("output_tokens: {max: 5}", {"output_tokens": 5}, {"output_tokens": 6}),
        ("images: {min: 1, max: 1}", {"images": 1}, {"images": 2}),
    ],
)
def test_a_rule_holds_for_the_rows_it_names_and_for_no_others(
    rule: str, matching: dict[str, object], other: dict[str, object]
) -> None:
    text = f"rules: [{{{rule}, query_type: special}}]\ndefault: plain"
    assert mapped(text, row()._replace(**matching), row()._replace(**other))[0] == ["special", "plain"]


def test_all_that_a_rule_names_must_hold_and_the_first_rule_that_does_wins() -> None:
    text = """
    rules:
      - {model: GPT-4, input_tokens: {min: 1000}, query_type: long}
      - {model: GPT-4, query_type: any}
      - {query_type: never}
    """
    types, _ = mapped(text, row(2000, model="GPT-4"), row(10, model="GPT-4"))
    assert types == ["long", "any"]


def test_a_row_that_no_rule_matches_is_dropped_and_counted() -> None:
    types, drops = mapped("rules: [{input_tokens: {max: 50}, query_type: short}]", row(10), row(60), row(70))
    assert types == ["short"]
    assert drops.as_dict() == {"unmapped": 2}
    assert "60 in" in next(iter(drops.examples.values()))


def test_a_request_keeps_the_time_and_the_tokens_of_its_row() -> None:
    (request,) = map_rows([TraceRow(1.5e9, 3, 4, file="math.csv")], DEFAULT_MAP, Drops())
    assert request == (1.5e9, "math_solving", 3, 4)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (row(file="summarization_24h.csv.gz"), "summarization"),
        (row(file="codegen_24h.csv.gz"), "code_generation"),
        (row(file="translation_24h.csv.gz"), "translation"),
        (row(file="math_24h.csv.gz"), "math_solving"),
        (row(9, 900, file="AzureLLMInferenceTrace_code_1week.csv"), "code_generation"),
        (row(2000, 50, file="AzureLMMInferenceTrace_multimodal.csv.gz", images=3), "image_generation"),
        (row(2000, 50, file="AzureLMMInferenceTrace_multimodal.csv.gz"), "summarization"),
        (row(2000, 50, file="AzureLLMInferenceTrace_conv.csv"), "summarization"),
        (row(300, 900, file="AzureLLMInferenceTrace_conv.csv"), "math_solving"),
        (row(80, 90, file="AzureLLMInferenceTrace_conv.csv"), "translation"),
        (row(80, 90, file="BurstGPT_1.csv", model="GPT-4"), "translation"),
    ],
)
def test_the_map_that_ships_knows_the_public_traces(read: TraceRow, expected: str) -> None:
    (request,) = map_rows([read], DEFAULT_MAP, Drops())
    assert request.query_type == expected


def test_the_types_of_a_map_are_all_that_it_can_give_each_once() -> None:
    text = "rules: [{query_type: b, file: x}, {query_type: a, file: y}, {query_type: b, file: z}]\ndefault: c"
    assert parse_type_map(text, "m.yaml").query_types == ("b", "a", "c")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [", "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
        ("{}", "must have rules, a default or both"),
        ("rules: 3", "m.yaml: rules"),
        ("rules: [{file: x}]", "rules.0.query_type"),
        ("rules: [{query_type: x}, {query_type: y, files: z}]", "rules.1.files"),
        ("rules: [{query_type: x, model: 4}]", "rules.0.model"),
        ("rules: [{query_type: x, model: []}]", "a list must name at least one"),
        ("rules: [{query_type: x, images: {min: -1}}]", "rules.0.images.min"),
        ("rules: [{query_type: x, images: {min: 1.5}}]", "rules.0.images.min"),
        ("rules: [{query_type: x, images: {}}]", "must name min, max or both"),
        ("rules: [{query_type: x, images: {min: 3, max: 2}}]", r"min (3) must not be above max (2)"),
        ('default: ""', "m.yaml: default"),
        ('default: "a\\0b"', "m.yaml: default"),
    ],
)
def test_a_bad_map_is_refused_by_its_place(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_type_map(text, "m.yaml")
    assert told in str(caught.value)


def test_a_map_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: no such file"):
        load_type_map(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_type_map(tmp_path)
