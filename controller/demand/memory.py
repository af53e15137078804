"""What is remembered of demand from window to window: plain arrays, a row for each query type, found by name."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.demand.forecasters import Arrays

FORMAT = "demand-memory/4"
_HALF = "float16"


@dataclass(frozen=True, slots=True)
class DemandMemory:
    """Arrays by name, whose first axis is ``types``; empty before the first window.

    Attributes
    ----------
    types : names of the query types, in the order of the rows.
    signature : the rule that made the arrays; those of another rule mean nothing to this one.
    arrays : treated as read-only.
    """

    types: tuple[str, ...] = ()
    signature: str = ""
    arrays: Arrays = field(default_factory=lambda: MappingProxyType({}))

    def rows_of(self, types: Sequence[str], fresh: Arrays, signature: str) -> dict[str, NDArray[Any]]:
        """Return the arrays for ``types``: a row of its own for those that are known, one of ``fresh`` for the rest.

        Whatever was remembered under another rule is forgotten.
        """
        if signature != self.signature or fresh.keys() != self.arrays.keys():
            return dict(fresh)
        if tuple(types) == self.types:
            return dict(self.arrays)
        position = {name: row for row, name in enumerate(self.types)}
        rows = np.array([position.get(name, -1) for name in types], dtype=np.int64)
        known = np.flatnonzero(rows >= 0)
        found = {}
        for name, array in fresh.items():
            found[name] = array.copy()
            found[name][known] = self.arrays[name][rows[known]]
        return found

    def parts(self, size: int) -> list[DemandMemory]:
        """Return it in parts of at most ``size`` types; one at least."""
        return [
            DemandMemory(
                self.types[begin : begin + size],
                self.signature,
                {name: array[begin : begin + size] for name, array in self.arrays.items()},
            )
            for begin in range(0, max(len(self.types), 1), size)
        ]

    @classmethod
    def joined(cls, parts: Sequence[DemandMemory]) -> DemandMemory:
        """Put parts together; nothing is remembered where they are of different rules."""
        if not parts or len({(part.signature, frozenset(part.arrays)) for part in parts}) > 1:
            return cls()
        arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
        return cls(tuple(name for part in parts for name in part.types), parts[0].signature, arrays)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; arrays are base64, and come back as they were to the last bit."""
        return {
            "format": FORMAT,
            "types": list(self.types),
            "signature": self.signature,
            "arrays": {name: _packed(array) for name, array in self.arrays.items()},
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any] | None) -> DemandMemory:
        """Read it back; nothing is remembered where there is none, or it is of another format."""
        if not data or data.get("format") != FORMAT:
            return cls()
        arrays = {name: _unpacked(packed) for name, packed in data["arrays"].items()}
        return cls(tuple(data["types"]), data["signature"], arrays)


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    # Residuals are float32 in memory but were rounded to half precision when they were written there.
    stored = array.astype(np.float16) if array.dtype == np.float32 else array
    return {
        "dtype": str(stored.dtype),
        "shape": list(stored.shape),
        "data": base64.b64encode(stored.tobytes()).decode("ascii"),
    }


def _unpacked(packed: Mapping[str, Any]) -> NDArray[Any]:
    flat = np.frombuffer(base64.b64decode(packed["data"]), dtype=np.dtype(packed["dtype"]))
    found = flat.reshape(packed["shape"])
    return found.astype(np.float32) if packed["dtype"] == _HALF else found.copy()
