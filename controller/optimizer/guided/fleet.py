"""A fleet: which deployments run, with how many replicas; where the search of whole numbers goes from and to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Deployments ``at`` (K,), by position in the search space, in order, with ``replicas`` (K,) >= 1 of each."""

    at: Ints
    replicas: Floats

    @classmethod
    def of(cls, replicas: Floats) -> Fleet:
        """Take the fleet of replicas (D,)."""
        at = np.flatnonzero(replicas)
        return cls(at, replicas[at])

    @property
    def key(self) -> bytes:
        """What tells it from other fleets."""
        return self.at.tobytes() + self.replicas.tobytes()
