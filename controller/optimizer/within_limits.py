"""Cuts a fleet to what limits have room for: what saves least for the GPUs that it takes goes first."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.cost import price
from controller.domain.instance import Instance
from controller.optimizer.routing import route
from controller.optimizer.state import COUNT_ROUNDING, LIMIT_ROUNDING


def within_limits(instance: Instance, replicas: Ints) -> Ints:
    """Return the replicas (D,) that constraints 6 and 7 have room for; what routes add to the budget is left aside."""
    fleet = _Fleet(instance, replicas)
    fleet.cut_pairs()
    fleet.cut_gpus()
    fleet.cut_storage()
    fleet.cut_budget()
    return fleet.replicas


class _Fleet:
    def __init__(self, instance: Instance, replicas: Ints) -> None:
        self._instance, self._arrays = instance, instance.arrays
        self._given = np.maximum(replicas, 0)
        self.replicas = self._given.copy()

    @cached_property
    def _worth_usd_per_gpu(self) -> Floats:
        """(D,) the penalties that each deployment saves beyond its routes' own price; most fleets need not know."""
        arrays = self._arrays
        shares = route(self._instance, self._given, budgeted=False)
        saved_usd = ((arrays.unmet_usd[:, None] - arrays.route_usd) * shares).sum(axis=0)
        worth: Floats = saved_usd / np.maximum(arrays.gpus * self._given, 1)
        return worth

    def cut_pairs(self) -> None:
        """Keep the configuration of each pair that saves most."""
        arrays, given = self._arrays, self._given
        for pair in np.flatnonzero(np.bincount(arrays.pair[given > 0]) > 1):
            configs = np.flatnonzero((arrays.pair == pair) & (given > 0))
            best = configs[np.argmax((self._worth_usd_per_gpu * arrays.gpus * given)[configs])]
            self.replicas[configs[configs != best]] = 0

    def cut_gpus(self) -> None:
        """Keep the GPUs that each tier has."""
        arrays = self._arrays
        used = np.bincount(arrays.tier, arrays.gpus * self.replicas, len(arrays.available))
        for k in np.flatnonzero(used > arrays.available).tolist():
            self._cut_gpus_of(k)

    def _cut_gpus_of(self, k: int) -> None:
        arrays = self._arrays
        gpus, available = np.where(arrays.tier == k, arrays.gpus, 0), float(arrays.available[k])
        self._cut(
            np.flatnonzero(gpus),
            lambda: float(gpus @ self.replicas) - available,
            lambda d, over: math.ceil(over / gpus[d]),
        )

    def cut_storage(self) -> None:
        """Keep what storage has room for: all replicas of a deployment share its weights."""
        storage_gb, weights_gb = self._instance.storage_gb, self._arrays.weights_gb
        if storage_gb is not None:
            self._cut(
                np.arange(len(weights_gb)),
                lambda: float(weights_gb @ (self.replicas > 0)) - storage_gb - COUNT_ROUNDING,
                lambda d, _: self.replicas[d],
            )

    def cut_budget(self) -> None:
        """Keep what the budget pays for."""
        budget_usd, arrays = self._instance.budget_usd, self._arrays
        if budget_usd is not None:
            nothing = np.zeros((arrays.num_types, arrays.num_deployments))
            self._cut(
                np.arange(arrays.num_deployments),
                lambda: (
                    price(arrays, self.replicas, nothing).budgeted_usd - budget_usd * (1 + LIMIT_ROUNDING)
                ),
                lambda d, over: math.ceil(over / arrays.rent_usd[d]),
            )

    def _cut(self, at: Ints, over: Callable[[], float], fewer: Callable[[int, float], int]) -> None:
        """Take away as many replicas of ``at`` (n,) as that, one deployment after the other, while ``over`` a limit."""
        if over() <= 0:
            return
        for d in at[np.argsort(self._worth_usd_per_gpu[at], kind="stable")].tolist():
            if (excess := over()) > 0:
                self.replicas[d] -= min(self.replicas[d], fewer(d, excess))
