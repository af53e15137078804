"""What is known to run, beside what was planned to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.domain.entities import DeploymentKey


@dataclass(frozen=True, slots=True)
class ObservedFleet:
    """What runs, and what there is to run on, by the word of those who start and stop replicas.

    Attributes
    ----------
    as_of_s : when that was so, s since the epoch.
    replicas : r⁰, those that answer and those that are on their way.
    gpus_available : by tier, in use or not; a tier that it lacks has what the catalog says.
    """

    as_of_s: float
    replicas: Mapping[DeploymentKey, int] = field(default_factory=lambda: MappingProxyType({}))
    gpus_available: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
