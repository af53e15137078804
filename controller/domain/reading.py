"""Reading plain data (parsed JSON or YAML) field by field, with errors that name field, rule and value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from controller.errors import InputError, InstanceError
from controller.text_file import read_text

_REQUIRED: Any = object()
T = TypeVar("T")


def load_json(path: Path, error: type[InputError] = InstanceError) -> Any:
    """Read a JSON file; see :func:`parse_json`.

    Raises
    ------
    InputError : of type ``error``; the file is missing, unreadable, or not JSON.
    """
    return parse_json(read_text(path, error), str(path), error)


def parse_json(text: str, where: str, error: type[InputError] = InstanceError) -> Any:
    """Parse JSON; refuses what JSON itself does not define (NaN, repeated keys) and says where.

    Raises
    ------
    InputError : of type ``error``; it is not JSON, or nested too deeply to be read.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise error(where, "no field may stand twice in one object", name)
            result[name] = value
        return result

    def no_constant(name: str) -> Any:
        raise error(where, "numbers must be finite", name)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as problem:
        place = f"{where}, line {problem.lineno}, column {problem.colno}"
        raise error(place, f"not JSON: {problem.msg}") from None
    except RecursionError:
        raise error(where, "nested too deeply") from None
    except ValueError as problem:  # a whole number of thousands of digits
        raise error(where, f"not JSON: {problem}") from None


class Fields:
    """The fields of one object, taken one by one; what is left at the end is unknown.

    Parameters
    ----------
    data : the parsed object.
    where : its path, for errors, such as ``query_types[2]``.
    error : the kind of :class:`InputError` to raise.
    """

    def __init__(self, data: Any, where: str, error: type[InputError] = InstanceError) -> None:
        if not isinstance(data, Mapping):
            raise error(where, "must be an object", data)
        self._data = data
        self._where = where
        self._error = error
        self._taken: set[str] = set()

    def path(self, name: str) -> str:
        """Return the path of a field of this object."""
        return ".".join(part for part in (self._where, name) if part)

    def take(self, name: str, default: T = _REQUIRED) -> Any | T:
        """Return a field's raw value, or ``default`` where it is absent."""
        self._taken.add(name)
        if name in self._data:
            return self._data[name]
        if default is _REQUIRED:
            raise self._error(self.path(name), "is missing")
        return default

    def number(
        self,
        name: str,
        default: float = _REQUIRED,
        *,
        at_least: float = -math.inf,
        above: float = -math.inf,
        at_most: float = math.inf,
    ) -> float:
        """Return a finite number within its bounds."""
        value = self.take(name, default)
        return self._checked(self.path(name), value, at_least=at_least, above=above, at_most=at_most)

    def _checked(
        self,
        where: str,
        value: Any,
        *,
        at_least: float = -math.inf,
        above: float = -math.inf,
        at_most: float = math.inf,
    ) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(where, "must be a number", value)
        if not math.isfinite(value):
            raise self._error(where, "must be finite", value)
        if value < at_least:
            raise self._error(where, f"must be at least {at_least:g}", value)
        if value <= above:
            raise self._error(where, f"must be above {above:g}", value)
        if value > at_most:
            raise self._error(where, f"must be at most {at_most:g}", value)
        return float(value)

    def _whole(self, where: str, value: Any, at_least: int) -> int:
        number = self._checked(where, value, at_least=at_least)
        if number != int(number):
            raise self._error(where, "must be a whole number", value)
        return int(number)

    def limit(self, name: str) -> float | None:
        """Return a limit, >= 0; None where it is absent or null, which is no limit."""
        return None if self.take(name, None) is None else self.number(name, at_least=0.0)

    def whole(self, name: str, default: int = _REQUIRED, *, at_least: int = 0) -> int:
        """Return a whole number; ``4.0`` is one."""
        return self._whole(self.path(name), self.take(name, default), at_least)

    def whole_list(self, name: str, *, at_least: int = 1) -> tuple[int, ...]:
        """Return a non-empty list of distinct whole numbers, ascending."""
        items = self.take(name)
        if not isinstance(items, Sequence) or isinstance(items, str) or not items:
            raise self._error(self.path(name), "must be a non-empty list of whole numbers", items)
        values: list[int] = []
        for position, item in enumerate(items):
            value = self._whole(f"{self.path(name)}[{position}]", item, at_least)
            if value in values:
                raise self._error(self.path(name), "must not repeat a value", value)
            values.append(value)
        return tuple(sorted(values))

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """Return a non-empty text."""
        value = self.take(name, default)
        if not isinstance(value, str) or (not value and default is _REQUIRED):
            raise self._error(self.path(name), "must be a non-empty text", value)
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str = _REQUIRED) -> str:
        """Return one of the allowed texts."""
        value = self.take(name, default)
        if value not in allowed:
            raise self._error(self.path(name), f"must be one of {', '.join(allowed)}", value)
        return str(value)

    def objects(self, name: str, *, required: bool = True) -> list[Fields]:
        """Return the objects of a list; it may not be empty where it is required."""
        items = self.take(name) if required else self.take(name, ())
        if not isinstance(items, Sequence) or isinstance(items, str) or (required and not items):
            raise self._error(self.path(name), "must be a non-empty list of objects", items)
        return [Fields(item, f"{self.path(name)}[{n}]", self._error) for n, item in enumerate(items)]

    def object(self, name: str) -> Fields:
        """Return an object that stands in a field."""
        return Fields(self.take(name), self.path(name), self._error)

    def names(self) -> list[str]:
        """Return the names of all fields that are there."""
        return [str(name) for name in self._data]

    def done(self) -> None:
        """Refuse whatever nobody asked for."""
        for name in self._data:
            if name not in self._taken:
                raise self._error(self.path(str(name)), "unknown field")
