"""The table of settings in docs/operations.md is the whole truth about controller/settings.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from controller.settings import Settings

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(?P<name>[a-z_.]+)` \| `(?P<variable>COXSWAIN_[A-Z_]+)` \| (?P<default>[^|]+) \|", re.M
)
DOCUMENTED = {row["name"]: row for row in ROW.finditer(OPERATIONS)}


def settings(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return every setting with its default, by its dotted name."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= settings(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.get_default()
    return found


SETTINGS = settings(Settings)


def written(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_in_the_table_with_its_default_and_its_variable(name: str) -> None:
    assert name in DOCUMENTED, f"docs/operations.md lacks the setting {name}"
    row = DOCUMENTED[name]
    assert row["default"].strip() == written(SETTINGS[name])
    assert row["variable"] == f"COXSWAIN_{name.replace('.', '__').upper()}"


def test_the_table_names_no_setting_that_is_gone() -> None:
    assert not DOCUMENTED.keys() - SETTINGS.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("horizon.length_s", "60"),
        ("solver.iterations", "3"),
        ("app_id", "fleet-b"),
        ("catalog", "fleet.yaml"),
    ],
)
def test_the_variable_of_the_table_sets_the_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DOCUMENTED[name]["variable"], value)
    found: Any = Settings()
    for part in name.split("."):
        found = getattr(found, part)
    assert str(found) in (value, f"{value}.0")
