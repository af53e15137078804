"""Catalogs and fleet states, from a record's bytes to the core's own values, or to a reason why not."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from controller.domain.catalog import Catalog, read_catalog
from controller.domain.entities import DeploymentKey
from controller.domain.observed_fleet import ObservedFleet
from controller.domain.reading import parse_json
from controller.errors import CatalogError, InputError, MessageError
from schemas import Catalog as CatalogMessage
from schemas import FleetState, Message

SMALLEST, LARGEST = 1e-15, 1e15
"""Of the numbers in a catalog, beside 0."""
M = TypeVar("M", bound=Message)


def catalog_of(raw: bytes | None, fleet: str) -> Catalog:
    """Read the catalog of a fleet.

    Raises
    ------
    MessageError : ``empty``, ``invalid``, ``other_fleet`` or ``inconsistent``, with place, rule and value.
    """
    text = _text(raw)
    _require_fleet(_message(text, CatalogMessage).fleet, fleet)
    data = parse_json(text, "record", CatalogError)
    _require_sane_numbers(data, "")
    try:
        return read_catalog(data)
    except CatalogError as error:
        raise MessageError("inconsistent", "", str(error)) from None  # it says place, rule and value itself


def observed_fleet_of(raw: bytes | None, fleet: str) -> ObservedFleet:
    """Read what runs in a fleet.

    Raises
    ------
    MessageError : as of :func:`catalog_of`.
    """
    state = _message(_text(raw), FleetState)
    _require_fleet(state.fleet, fleet)
    replicas: dict[DeploymentKey, int] = {}
    for number, reported in enumerate(state.replicas):
        key = DeploymentKey(reported.model, reported.gpu_tier, reported.tp, reported.pp)
        if key in replicas:
            rule = "no deployment may stand twice"
            raise MessageError("inconsistent", f"replicas[{number}]", rule, key.id)
        replicas[key] = reported.ready + reported.pending
    return ObservedFleet(
        state.as_of, MappingProxyType(replicas), MappingProxyType(dict(state.gpus_available))
    )


def _text(raw: bytes | None) -> str:
    if not raw:
        raise MessageError("empty", "record", "must not be empty")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MessageError("invalid", "record", f"must be UTF-8: {error}") from None


def _message(text: str, kind: type[M]) -> M:
    """Return what a record says, by its schema alone; text that is no JSON is told of first, in words of our own."""
    try:
        parse_json(text, "record", InputError)
        return kind.model_validate_json(text)
    except InputError as error:
        raise MessageError("invalid", "", str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise MessageError("invalid", where, str(first["msg"]), first["input"]) from None


def _require_sane_numbers(data: Any, where: str) -> None:
    """Refuse numbers that nothing in a fleet can have: products of them are infinite, and no plan can be priced."""
    if isinstance(data, dict):
        for name, value in data.items():
            _require_sane_numbers(value, f"{where}.{name}" if where else name)
    elif isinstance(data, list):
        for position, value in enumerate(data):
            _require_sane_numbers(value, f"{where}[{position}]")
    elif isinstance(data, int | float) and data != 0 and not SMALLEST <= data <= LARGEST:
        raise MessageError("invalid", where, f"must be 0, or from {SMALLEST:g} to {LARGEST:g}", data)


def _require_fleet(found: str, fleet: str) -> None:
    if found != fleet:
        raise MessageError("other_fleet", "fleet", f"must be {fleet!r}", found)
