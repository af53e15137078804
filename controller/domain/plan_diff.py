"""What changes between two plans, in the order in which it may be carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from controller.domain.entities import DeploymentKey


@dataclass(frozen=True, slots=True)
class Change:
    """One step: a deployment goes from ``before`` to ``after`` replicas."""

    action: Literal["start", "stop"]
    key: DeploymentKey
    before: int
    after: int

    @property
    def gpus(self) -> int:
        """GPUs that the step takes or gives back."""
        return abs(self.after - self.before) * self.key.gpus_per_replica


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """Starts before stops, so that no demand is dropped on the way; within each, the larger step first."""

    changes: tuple[Change, ...]

    @classmethod
    def between(cls, before: Mapping[DeploymentKey, int], after: Mapping[DeploymentKey, int]) -> PlanDiff:
        """Compare the replicas of two plans."""
        changes = []
        for key in sorted(set(before) | set(after)):
            old, new = before.get(key, 0), after.get(key, 0)
            if new != old:
                changes.append(Change("start" if new > old else "stop", key, old, new))
        changes.sort(key=lambda change: (change.action == "stop", -change.gpus, change.key))
        return cls(tuple(changes))

    @property
    def gpus_moved(self) -> int:
        """GPUs that are taken or given back."""
        return sum(change.gpus for change in self.changes)
