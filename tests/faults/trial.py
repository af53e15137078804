"""One trial of the fault programme: what was done, where it landed, and what the oracle found afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal

Verdict = Literal["held", "missed", "broken"]
"""``held``: the fault landed and everything held. ``missed``: it did not land, which is evidence of nothing.
``broken``: something did not hold, or the trial could not be brought to its end."""


_MOST_WRONG = 8


@dataclass(frozen=True)
class Case:
    """Which trial is to be run: the same case draws the same faults."""

    kind: str
    number: int
    seed: int
    attempt: int = 0

    def random(self) -> Random:
        return Random(f"{self.seed}/{self.kind}/{self.number}/{self.attempt}")


@dataclass
class Outcome:
    """What a trial found. It is filled in on the way, so that a trial that fails says how far it came."""

    fault: str = ""
    landed: str = ""
    lost: int = 0
    double: int = 0
    stale_applied: int = 0
    recovery_s: float | None = None
    wrong: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        if self.wrong or self.lost or self.double or self.stale_applied:
            return "broken"
        return "held" if self.landed else "missed"


@dataclass(frozen=True)
class Trial:
    """A case with its outcome, as the ledger keeps it."""

    kind: str
    number: int
    seed: int
    attempt: int
    fault: str
    landed: str
    lost: int
    double: int
    stale_applied: int
    recovery_s: float | None
    wrong: list[str]
    verdict: Verdict
    wall_s: float
    detail: dict[str, Any]

    @classmethod
    def of(cls, case: Case, outcome: Outcome, wall_s: float) -> Trial:
        recovery_s = None if outcome.recovery_s is None else round(outcome.recovery_s, 3)
        return cls(
            **asdict(case),
            **{**asdict(outcome), "recovery_s": recovery_s, "wrong": _first(outcome.wrong)},
            verdict=outcome.verdict,
            wall_s=round(wall_s, 2),
        )


def _first(wrong: list[str]) -> list[str]:
    more = len(wrong) - _MOST_WRONG
    return wrong[:_MOST_WRONG] + ([f"and {more} more"] if more > 0 else [])
