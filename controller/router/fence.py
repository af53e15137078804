"""Fencing: which plans may still be acted on.

A planner's epoch is the offset of its claim in ``llm.planner-claims.v1``, so that a later planner has a higher one, and
it numbers its plans by sequence. Whoever acts on plans remembers the last ``(epoch, sequence)`` and takes nothing that
is not above it: a planner that was paused, replaced and woken again is heard by nobody.

Offsets mean something within one topic only. A fence carries the identity of the cluster and of the claims topic that
its epochs come from; in another one it starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas import AllocationPlan


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log the epochs are offsets of. None stands for what could not be learned, and proves nothing."""

    cluster_id: str | None = None
    claims_topic_id: str | None = None

    def difference(self, other: LogIdentity) -> str | None:
        """Say in which way ``other`` is certainly another log; None where it may be the same."""
        for what, mine, theirs in (
            ("cluster", self.cluster_id, other.cluster_id),
            ("planner-claims topic", self.claims_topic_id, other.claims_topic_id),
        ):
            if mine is not None and theirs is not None and mine != theirs:
                return f"the {what} is {theirs}, and was {mine}"
        return None

    def completed_by(self, other: LogIdentity) -> LogIdentity:
        """Return this identity with what only ``other`` knows."""
        return LogIdentity(
            self.cluster_id if other.cluster_id is None else other.cluster_id,
            self.claims_topic_id if other.claims_topic_id is None else other.claims_topic_id,
        )


@dataclass(frozen=True, slots=True)
class Fence:
    """The highest ``(epoch, sequence)`` that was acted on, and the log that it belongs to."""

    identity: LogIdentity = field(default_factory=LogIdentity)
    last: tuple[int, int] | None = None

    def accepts(self, plan: AllocationPlan) -> bool:
        """Whether a plan is newer than everything that was acted on."""
        return self.last is None or (plan.epoch, plan.sequence) > self.last

    def after(self, plan: AllocationPlan) -> Fence:
        """Return the fence that stands once ``plan`` is acted on; ``accepts`` must have been asked before."""
        return Fence(self.identity, (plan.epoch, plan.sequence))

    def in_log(self, identity: LogIdentity) -> tuple[Fence, str | None]:
        """Return the fence that holds in the log now connected to, and why it starts anew where it does."""
        difference = self.identity.difference(identity)
        if difference is not None:
            return Fence(identity), difference
        return Fence(self.identity.completed_by(identity), self.last), None
