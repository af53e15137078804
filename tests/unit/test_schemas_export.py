"""The exported schemas: current, complete, and consistent with the topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import TOPICS
from schemas.export import FOLDER, MESSAGES, asyncapi, file_name, files, json_schema, write


def test_the_files_in_the_repository_are_those_of_the_messages() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert on_disk == files(), "run `python -m schemas.export`"


def test_writing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    assert {path.name for path in write(tmp_path)} == files().keys()
    assert write(tmp_path) == []


def test_every_topic_has_an_exported_message_and_every_message_a_topic() -> None:
    assert {spec.message for spec in TOPICS.values()} == {message.__name__ for message in MESSAGES}


def test_every_schema_is_closed_and_says_its_version() -> None:
    for message in MESSAGES:
        schema = json_schema(message)
        assert schema["additionalProperties"] is False
        assert schema["$id"] == f"coxswain:{schema['properties']['schema']['const']}"


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for value in node for ref in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        if reference.startswith("./"):
            assert reference.removeprefix("./") in files()
            continue
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_names_of_files_follow_the_names_of_schemas_without_their_version() -> None:
    assert sorted(file_name(message) for message in MESSAGES) == [
        "catalog.schema.json",
        "clock.schema.json",
        "dead-letter.schema.json",
        "demand.schema.json",
        "fleet-state.schema.json",
        "plan-ack.schema.json",
        "plan.schema.json",
        "planner-claim.schema.json",
        "request-rate.schema.json",
    ]


def test_the_files_are_plain_json_that_keeps_its_symbols() -> None:
    text = files()["catalog.schema.json"]
    assert "Δ_i" in text
    assert json.loads(text)["title"] == "Catalog"
