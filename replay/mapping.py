"""Maps rows to query types by a YAML file: the first rule that matches wins (see ``replay/default_map.yaml``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from controller.errors import SettingsError
from replay.rows import DropReason, Drops, Request, TraceRow
from schemas.base import Count, Name


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TokenRange(_Strict):
    """From ``min`` to ``max``, both included; None is no limit."""

    min: Count | None = None
    max: Count | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range must name min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        return self

    def has(self, value: int) -> bool:
        """Whether the value lies in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


Texts = tuple[str, ...]


class MapRule(_Strict):
    """Rows for which all that is named holds are of ``query_type``."""

    query_type: Name
    file: Texts | None = None
    model: Texts | None = None
    log_type: Texts | None = None
    input_tokens: TokenRange | None = None
    output_tokens: TokenRange | None = None
    images: TokenRange | None = None

    @field_validator("file", "model", "log_type", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list):
            if not value:
                raise ValueError("a list must name at least one")
            return tuple(value)
        return value

    def is_for(self, file: str, model: str, log_type: str) -> bool:
        """Whether the rule's texts match; what it says of numbers is for :meth:`has_shape`."""
        return (
            (self.file is None or any(fnmatchcase(file.lower(), glob.lower()) for glob in self.file))
            and (self.model is None or model in self.model)
            and (self.log_type is None or log_type in self.log_type)
        )

    def has_shape(self, row: TraceRow) -> bool:
        """Whether the row's numbers lie in the rule's ranges."""
        return (
            (self.input_tokens is None or self.input_tokens.has(row.input_tokens))
            and (self.output_tokens is None or self.output_tokens.has(row.output_tokens))
            and (self.images is None or self.images.has(row.images))
        )


class TypeMap(_Strict):
    """The rules of a map, and the query type of what none of them matches (None: such rows are dropped)."""

    rules: list[MapRule] = Field(default_factory=list)
    default: Name | None = None

    @model_validator(mode="after")
    def _maps_something(self) -> Self:
        if not self.rules and self.default is None:
            raise ValueError("a map must have rules, a default or both")
        return self

    @property
    def query_types(self) -> tuple[str, ...]:
        """Every type that the map can give, in the order of its rules."""
        named = [rule.query_type for rule in self.rules]
        return tuple(dict.fromkeys(named if self.default is None else [*named, self.default]))


def map_rows(rows: Iterable[TraceRow], type_map: TypeMap, drops: Drops) -> Iterator[Request]:
    """Yield each row as a request of its type; count in ``drops`` the rows that have none.

    Few rows differ in file, model and log type, so the rules that these leave are looked up.
    """
    candidates: dict[tuple[str, str, str], list[MapRule]] = {}
    for row in rows:
        texts = row[4:7]
        left = candidates.get(texts)
        if left is None:
            left = candidates[texts] = [rule for rule in type_map.rules if rule.is_for(*texts)]
        query_type = type_map.default
        for rule in left:
            if rule.has_shape(row):
                query_type = rule.query_type
                break
        if query_type is None:
            drops.drop(DropReason.UNMAPPED, f"{row.file}: {row.input_tokens} in, {row.output_tokens} out")
        else:
            yield Request(row.time_s, query_type, row.input_tokens, row.output_tokens)


def load_type_map(path: Path) -> TypeMap:
    """Read a map from a YAML file.

    Raises
    ------
    SettingsError : no such file, not YAML, or a rule that says something unknown, by its place and value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(str(path), "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"cannot be read: {error}") from None
    return parse_type_map(text, str(path))


def parse_type_map(text: str, where: str) -> TypeMap:
    """Read a map from YAML text; ``where`` is how an error names it.

    Raises
    ------
    SettingsError : it is not YAML, or a rule says something unknown.
    """
    try:
        written = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(where, f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(written, dict):
        raise SettingsError(where, "must be a mapping with 'rules', 'default' or both", written)
    try:
        return TypeMap.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        rule = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{where}: {place}" if place else where, rule, first["input"]) from None


DEFAULT_MAP = parse_type_map(
    resources.files("replay").joinpath("default_map.yaml").read_text(encoding="utf-8"), "default_map.yaml"
)
"""The map that ships with Coxswain, ``replay/default_map.yaml``."""
