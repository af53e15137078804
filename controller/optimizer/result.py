"""What a solve gives back: a plan that the judge accepts, or why there is none."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Literal

from controller.domain.evaluate import Evaluation, evaluate
from controller.domain.instance import Instance
from controller.domain.plan import Plan
from controller.errors import SolverRejectedError
from controller.optimizer.memory import SolverMemory
from controller.optimizer.stop import relative_gap

Status = Literal["optimal", "feasible", "infeasible"]

PROVED_GAP = 1e-9
"""A plan counts as optimal where no cheaper one can exist by more than this, relative to its cost."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one solve.

    Attributes
    ----------
    plan, objective_usd, evaluation : the plan, its cost and the judge's word on it; None where there is none.
    status : ``optimal`` only where that is proved.
    lower_bound_usd : a cost that no plan is below; None where none is known.
    gap : ``(objective - bound) / objective``; None where either is missing.
    runtime_s : time taken, by the clock that was passed in.
    method : who made it.
    iterations : steps of AGH, nodes of a MILP.
    conflict : where infeasible, what clashes, in words.
    expected_usd : the expected cost over the demand scenarios that the solve was given, if any.
    memory : what to hand to the next solve of the same fleet; None where no plan was found.
    """

    plan: Plan | None
    status: Status
    objective_usd: float | None
    lower_bound_usd: float | None
    gap: float | None
    runtime_s: float
    method: str
    evaluation: Evaluation | None
    conflict: tuple[str, ...] = ()
    iterations: int = 0
    expected_usd: float | None = None
    memory: SolverMemory | None = field(default=None, repr=False, compare=False)

    @property
    def is_feasible(self) -> bool:
        """Whether there is a plan."""
        return self.plan is not None

    @property
    def gap_usd(self) -> float | None:
        """The objective less the bound, USD; None where either is missing."""
        if self.objective_usd is None or self.lower_bound_usd is None:
            return None
        return self.objective_usd - self.lower_bound_usd

    @classmethod
    def of_plan(
        cls,
        instance: Instance,
        plan: Plan,
        *,
        method: str,
        runtime_s: float,
        lower_bound_usd: float | None = None,
        proved: bool = False,
        iterations: int = 0,
        expected_usd: float | None = None,
        memory: SolverMemory | None = None,
    ) -> Result:
        """Judge a plan and wrap it up.

        Parameters
        ----------
        proved : whether the method has shown that no plan is cheaper.

        Raises
        ------
        SolverRejectedError : the plan breaks a constraint, which is a defect of the method.
        """
        evaluation = evaluate(instance, plan)
        if not evaluation.is_feasible:
            broken = "; ".join(str(check) for check in evaluation.violations)
            raise SolverRejectedError(f"the plan of method {method!r} breaks constraints: {broken}")
        objective = evaluation.cost.total_usd
        if _is_above(lower_bound_usd, objective, method):
            lower_bound_usd, proved = None, False  # a plan is no worse for what is wrong about its bound
        if lower_bound_usd is not None:
            lower_bound_usd = min(lower_bound_usd, objective)
        if proved:
            lower_bound_usd = objective if lower_bound_usd is None else lower_bound_usd
        gap = None if lower_bound_usd is None else relative_gap(objective, lower_bound_usd)
        optimal = proved or (gap is not None and gap <= PROVED_GAP)
        return cls(
            plan=plan,
            status="optimal" if optimal else "feasible",
            objective_usd=objective,
            lower_bound_usd=lower_bound_usd,
            gap=gap,
            runtime_s=runtime_s,
            method=method,
            evaluation=evaluation,
            iterations=iterations,
            expected_usd=expected_usd,
            memory=memory,
        )

    @classmethod
    def infeasible(
        cls, *, method: str, runtime_s: float, conflict: tuple[str, ...], iterations: int = 0
    ) -> Result:
        """Say that no plan exists, and what clashes."""
        return cls(
            plan=None,
            status="infeasible",
            objective_usd=None,
            lower_bound_usd=None,
            gap=None,
            runtime_s=runtime_s,
            method=method,
            evaluation=None,
            conflict=conflict,
            iterations=iterations,
        )


def _is_above(lower_bound_usd: float | None, objective_usd: float, method: str) -> bool:
    """Whether a bound is above a plan's cost by more than rounding, which is a defect of the method."""
    if lower_bound_usd is None or lower_bound_usd <= objective_usd + _ROUNDING * max(abs(objective_usd), 1.0):
        return False
    said = f"the bound of method {method!r}, {lower_bound_usd!r} USD, is above its plan's cost of {objective_usd!r}"
    warnings.warn(said, RuntimeWarning, stacklevel=3)
    return True
