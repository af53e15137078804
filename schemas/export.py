"""``python -m schemas.export``: the messages as JSON Schema and the topics as AsyncAPI 3.0, into ``schemas/json``.

The files are for those who speak to Coxswain from another language. They are made from the messages, never by hand, and
a test holds them to be current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from schemas.base import Message
from schemas.catalog import Catalog
from schemas.claim import PlannerClaim
from schemas.clock import ClockTick
from schemas.dead_letter import DeadLetter
from schemas.demand import DemandSnapshot
from schemas.events import RequestRateEvent
from schemas.fleet import FleetState, PlanAck
from schemas.plan import AllocationPlan
from schemas.topics import DEFAULT_SOURCE_PARTITIONS, TOPICS, TopicSpec

MESSAGES: tuple[type[Message], ...] = (
    RequestRateEvent,
    DemandSnapshot,
    PlannerClaim,
    AllocationPlan,
    PlanAck,
    FleetState,
    Catalog,
    ClockTick,
    DeadLetter,
)
"""Every message that is a record of its own on a topic."""

FOLDER = Path(__file__).parent / "json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EVERYONE_ELSE_SENDS = {"RequestRateEvent", "PlanAck", "FleetState", "Catalog", "ClockTick"}


def schema_version(message: type[Message]) -> str:
    """Return what a message's ``schema`` field says, such as ``plan/1``."""
    return str(message.model_fields["schema_name"].default)


def json_schema(message: type[Message]) -> dict[str, Any]:
    """Return the JSON Schema of what is accepted as ``message``."""
    schema = message.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": _DIALECT, "$id": f"coxswain:{schema_version(message)}", **schema}


def asyncapi() -> dict[str, Any]:
    """Return the topics and their messages as an AsyncAPI 3.0 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Coxswain",
            "version": "1",
            "description": "The Kafka topics of Coxswain. Values are UTF-8 JSON, keys are UTF-8 text.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {spec.message: _channel(spec) for spec in TOPICS.values()},
        "operations": {
            # Seen from Coxswain, as AsyncAPI has it: `receive` is what others send to it.
            f"{_action(spec)}{spec.message}": {
                "action": _action(spec),
                "channel": {"$ref": f"#/channels/{spec.message}"},
            }
            for spec in TOPICS.values()
        },
        "components": {
            "messages": {
                message.__name__: {
                    "name": schema_version(message),
                    "title": message.__name__,
                    "summary": (message.__doc__ or "").strip().splitlines()[0],
                    "contentType": "application/json",
                    "payload": {"$ref": f"./{file_name(message)}"},
                }
                for message in MESSAGES
            }
        },
    }


def file_name(message: type[Message]) -> str:
    """Return the name of a message's file: that of its schema, as in ``plan.schema.json``."""
    return f"{schema_version(message).rpartition('/')[0]}.schema.json"


def files() -> dict[str, str]:
    """Return the text of every file that belongs in the folder, by name; the same on every machine."""
    documents = {file_name(message): json_schema(message) for message in MESSAGES}
    documents["asyncapi.json"] = asyncapi()
    return {
        name: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


def write(folder: Path = FOLDER) -> list[Path]:
    """Write the files and return the paths of those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in files().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _action(spec: TopicSpec) -> str:
    return "receive" if spec.message in _EVERYONE_ELSE_SENDS else "send"


def _channel(spec: TopicSpec) -> dict[str, Any]:
    binding: dict[str, Any] = {
        "topic": spec.name.value,
        "partitions": DEFAULT_SOURCE_PARTITIONS if spec.partitions is None else spec.partitions,
        "topicConfiguration": {"cleanup.policy": [spec.cleanup]},
    }
    if "retention.ms" in spec.config:
        binding["topicConfiguration"]["retention.ms"] = int(spec.config["retention.ms"])
    return {
        "address": spec.name.value,
        "description": f"Keyed by: {spec.key}.",
        "messages": {spec.message: {"$ref": f"#/components/messages/{spec.message}"}},
        "bindings": {"kafka": {**binding, "bindingVersion": "0.5.0"}},
    }


if __name__ == "__main__":
    for changed_path in write():
        sys.stdout.write(f"{changed_path}\n")
