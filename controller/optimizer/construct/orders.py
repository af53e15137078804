"""The orders in which AGH tries the query types: four keys both ways, then seeded shuffles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from controller.domain.arrays import Floats
from controller.domain.instance import Instance


def fixed_orders(instance: Instance) -> Iterator[tuple[int, ...]]:
    """Yield descending then ascending orders by arrival rate, error SLO, token storage, and delay SLO.

    The first is the one of GH itself: descending arrival rate.
    """
    arrays = instance.arrays
    keys: list[Floats] = [
        arrays.queries_per_s,
        arrays.error_slo,
        arrays.token_storage_usd,
        arrays.delay_slo_s,
    ]
    for key in keys:
        for sign in (-1.0, 1.0):
            yield tuple(int(i) for i in np.argsort(sign * key, kind="stable"))


def shuffled_order(instance: Instance, random: np.random.Generator) -> tuple[int, ...]:
    """Return a random order."""
    return tuple(int(i) for i in random.permutation(instance.arrays.num_types))
