"""The tables of docs/operations.md against what the code says: topics, decisions, log fields, reasons, sections."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from controller.records import DecisionName
from schemas.topics import TOPICS, TopicSpec

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return the text of a second-level section."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", OPERATIONS, re.M | re.S)
    assert found is not None, f"docs/operations.md has no section {title!r}"
    return found[1]


def first_cells(title: str) -> set[str]:
    """Return the names in the first column of a section's tables."""
    rows = re.findall(r"^\| (`[^|]+`) \|", section(title), re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def calls(path: Path, function: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) == function
    ]


@pytest.mark.parametrize("spec", TOPICS.values(), ids=lambda spec: str(spec.name))
def test_a_topic_is_described_as_it_is_made(spec: TopicSpec) -> None:
    row = next(line for line in section("Topics").splitlines() if line.startswith(f"| `{spec.name}` "))
    _, message, _, partitions, cleanup = (cell.strip() for cell in row.split("|")[1:6])
    assert re.fullmatch(r"`[a-z-]+/1`", message)
    assert partitions.startswith("`--partitions`" if spec.partitions is None else str(spec.partitions))
    assert cleanup.split(",")[0] == spec.cleanup
    days = {"7 days": 7 * 24, "1 hour": 1}
    if "retention.ms" in spec.config:
        assert days[cleanup.split(", ")[1]] * 3_600_000 == int(spec.config["retention.ms"])


def test_every_decision_is_explained() -> None:
    assert {name.value for name in DecisionName} <= first_cells("Decisions")


def test_every_field_of_the_tick_line_is_explained() -> None:
    (call,) = calls(ROOT / "controller" / "stream" / "tick_log.py", "info")
    written = {keyword.arg for keyword in call.keywords}
    assert first_cells("The tick log line") == written
    line = re.search(r"```json\n(.*?)```", section("The tick log line"), re.S)
    assert line is not None
    assert all(f'"{field}":' in line[1] for field in written)


def test_every_reason_for_a_dead_letter_is_explained() -> None:
    raised = set()
    for path in ("codec.py", "event_decoder.py", "fleet_codec.py", "ingest.py"):
        for call in calls(ROOT / "controller" / "stream" / path, "MessageError"):
            reason = call.args[0]
            assert isinstance(reason, ast.Constant)
            raised.add(reason.value)
    # A ledger's, which is recounted rather than sent anywhere.
    assert first_cells("Dead letters") == raised - {"bucket_mismatch"}


REFERENCES = sorted(
    {
        (str(path.relative_to(ROOT)), document, title)
        for package in ("controller", "schemas", "replay", "tests", "deploy")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml") and path != Path(__file__)
        for document, title in re.findall(
            r"(docs/[a-z]+\.md)(?:,? \(?(\"[^)\n]+\"))?", path.read_text(encoding="utf-8")
        )
    }
)


@pytest.mark.parametrize(("path", "document", "titles"), REFERENCES)
def test_what_the_code_refers_to_is_there(path: str, document: str, titles: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for title in re.findall(r'"([^"]+)"', titles):
        assert re.search(rf"^##+ {re.escape(title)}$", text, re.M), (
            f"{path}: {document} has no section {title!r}"
        )


def test_the_references_of_the_code_were_found() -> None:
    assert any('"Derived"' in titles for _, _, titles in REFERENCES)
    assert any('"Instance file"' in titles for _, _, titles in REFERENCES)
