"""The objective of docs/mathematics.md, by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, InstanceArrays, Ints


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars over the horizon, by part."""

    rental_usd: float
    storage_usd: float
    delay_usd: float
    unmet_usd: float
    switching_usd: float

    @property
    def total_usd(self) -> float:
        """The objective."""
        return self.rental_usd + self.storage_usd + self.delay_usd + self.unmet_usd + self.switching_usd

    @property
    def budgeted_usd(self) -> float:
        """What the budget δ limits: rental and storage."""
        return self.rental_usd + self.storage_usd


def price(arrays: InstanceArrays, replicas: Ints, shares: Floats) -> Cost:
    """Price ``replicas`` (D,) and ``shares`` (I, D)."""
    served = shares.sum(axis=1)
    started = np.maximum(replicas - arrays.incumbent, 0)
    return Cost(
        rental_usd=float(arrays.rent_usd @ replicas),
        storage_usd=float(arrays.weights_storage_usd @ (replicas > 0) + arrays.token_storage_usd @ served),
        delay_usd=float((arrays.delay_usd * shares).sum()),
        unmet_usd=float(arrays.unmet_usd @ np.clip(1.0 - served, 0.0, 1.0)),
        switching_usd=float(arrays.start_usd @ started),
    )
