"""The one judge: prices a plan and checks every constraint, whoever made it.

Constraints carry the numbers and tolerances of docs/mathematics.md ("Subject to"). A plan that breaks one is wrong,
whatever it costs; nothing is published that this module rejects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from controller.domain.arrays import DELAY_SLO_TOLERANCE, Floats, Ints
from controller.domain.cost import Cost, price
from controller.domain.instance import Instance
from controller.domain.plan import Plan

TOLERANCE = 1e-6

ConstraintName = Literal[
    "demand",
    "max_unmet",
    "delay",
    "error",
    "compute",
    "memory",
    "one_config",
    "budget",
    "storage",
    "gpus",
]


@dataclass(frozen=True, slots=True)
class ConstraintCheck:
    """One constraint, as a plan meets it.

    Attributes
    ----------
    constraint : which; ``subject`` says of what: a query type, a route, a deployment, a model on a tier, a tier.
    used, limit : both sides, in the constraint's own unit.
    excess : how far it is over its limit, in the scale that :data:`TOLERANCE` applies to; negative where it is kept.
    query_types : the types that it may hold back.
    """

    constraint: ConstraintName
    subject: str
    used: float
    limit: float
    excess: float
    query_types: tuple[str, ...]
    tolerance: float = TOLERANCE

    @property
    def is_violated(self) -> bool:
        """Whether the excess is more than rounding."""
        return not self.excess <= self.tolerance

    @property
    def relative_slack(self) -> float:
        """``(limit - used) / limit``: 0 where it binds, 1 where nothing of it is used."""
        if self.limit > 0:
            return (self.limit - self.used) / self.limit
        return 0.0 if self.used <= 0 else -float("inf")

    def __str__(self) -> str:
        return f"{self.constraint} of {self.subject}: {self.used:.6g} of {self.limit:.6g}"


@dataclass(frozen=True, slots=True)
class TypeOutcome:
    """What a query type gets: means over what is served (None where nothing is), the unmet share, what binds."""

    query_type: str
    delay_s: float | None
    error: float | None
    unmet: float
    binding: ConstraintCheck | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judge's word on a plan."""

    cost: Cost
    checks: tuple[ConstraintCheck, ...]
    outcomes: tuple[TypeOutcome, ...]

    @property
    def violations(self) -> tuple[ConstraintCheck, ...]:
        """The constraints that are broken."""
        return tuple(check for check in self.checks if check.is_violated)

    @property
    def is_feasible(self) -> bool:
        """Whether no constraint is broken."""
        return not any(check.is_violated for check in self.checks)


def evaluate(instance: Instance, plan: Plan) -> Evaluation:
    """Price a plan and check every constraint.

    Raises
    ------
    InstanceError : the plan names a deployment or a query type that the instance does not have.
    """
    return evaluate_arrays(instance, *plan.arrays(instance))


def evaluate_arrays(instance: Instance, replicas: Ints, shares: Floats) -> Evaluation:
    """Price and check ``replicas`` (D,) and ``shares`` (I, D); see :func:`evaluate`."""
    cost = price(instance.arrays, replicas, shares)
    at = np.flatnonzero(replicas.astype(bool) | shares.any(axis=0))  # of thousands that there may be, a few
    used = shares[:, at]
    checks = (
        *_demand(instance, used),
        *_delay(instance, at, used),
        *_error(instance, at, used),
        *_capacity(instance, at, replicas[at], used),
        *_one_config(instance, replicas),
        *_limits(instance, replicas, cost),
    )
    return Evaluation(cost, checks, tuple(_outcomes(instance, at, used, checks)))


def _demand(instance: Instance, shares: Floats) -> Iterator[ConstraintCheck]:
    """Constraint 1: each share in [0, 1], together at most 1, and at most ζ_i unmet.

    Where nobody asks nothing is unmet: constraints 4 and 5 let a type with a rate of zero go anywhere, to deployments
    without a replica, too, and a plan need not spell that out.
    """
    for i, query_type in enumerate(instance.query_types):
        served = float(shares[i].sum())
        worst_share = float(max(-shares[i].min(initial=0.0), shares[i].max(initial=0.0) - 1.0))
        name = query_type.name
        yield ConstraintCheck("demand", name, served, 1.0, max(served - 1.0, worst_share), (name,))
        unmet = 1.0 - served if query_type.arrival_rate_per_s > 0 else 0.0
        excess = unmet - query_type.max_unmet
        yield ConstraintCheck("max_unmet", name, max(unmet, 0.0), query_type.max_unmet, excess, (name,))


def _delay(instance: Instance, at: Ints, shares: Floats) -> Iterator[ConstraintCheck]:
    """Constraint 2: Δ_i, for each route to ``at`` (n,) or for the mean over the ``shares`` (I, n)."""
    arrays = instance.arrays
    delay_s = arrays.delay_s[:, at]
    if instance.delay_slo == "average":
        means_s, over_s = _means(delay_s, arrays.delay_slo_s, shares)
        for i, query_type in enumerate(instance.query_types):
            name, limit_s = query_type.name, query_type.delay_slo_s
            yield ConstraintCheck("delay", name, means_s[i], limit_s, over_s[i] / limit_s, (name,))
        return
    for i, query_type in enumerate(instance.query_types):
        name, limit_s = query_type.name, query_type.delay_slo_s
        for n in np.flatnonzero(shares[i] > 0):
            used_s = float(delay_s[i, n])
            subject = f"{name} on {arrays.keys[at[n]].id}"
            excess = used_s / limit_s - 1.0
            yield ConstraintCheck("delay", subject, used_s, limit_s, excess, (name,), DELAY_SLO_TOLERANCE)


def _error(instance: Instance, at: Ints, shares: Floats) -> Iterator[ConstraintCheck]:
    """Constraint 3: ε_i for the mean over what is served."""
    arrays = instance.arrays
    means, over = _means(arrays.error[:, at], arrays.error_slo, shares)
    for i, query_type in enumerate(instance.query_types):
        name = query_type.name
        yield ConstraintCheck("error", name, means[i], query_type.error_slo, over[i], (name,))


def _means(values: Floats, limits: Floats, shares: Floats) -> tuple[list[float], list[float]]:
    """Return by type the mean of ``values`` (I, n) over what is served, 0 without that, and Σ (value - limit) x."""
    x = np.maximum(shares, 0.0)
    served = x.sum(axis=1)
    means = np.divide((values * x).sum(axis=1), served, out=np.zeros(len(x)), where=served > 0)
    over = ((values - limits[:, None]) * x).sum(axis=1)
    return means.tolist(), over.tolist()


def _capacity(instance: Instance, at: Ints, replicas: Ints, shares: Floats) -> Iterator[ConstraintCheck]:
    """Constraints 4 and 5, in replicas: compute and memory of each deployment that runs or is routed to."""
    arrays = instance.arrays
    compute, memory = (
        (load[:, at] * shares).sum(axis=0) for load in (arrays.compute_load, arrays.memory_load)
    )
    for n, d in enumerate(at.tolist()):
        routed = tuple(
            query_type.name for i, query_type in enumerate(instance.query_types) if shares[i, n] > 0
        )
        limit, subject = float(replicas[n]), arrays.keys[d].id
        yield ConstraintCheck("compute", subject, float(compute[n]), limit, float(compute[n]) - limit, routed)
        yield ConstraintCheck("memory", subject, float(memory[n]), limit, float(memory[n]) - limit, routed)


def _one_config(instance: Instance, replicas: Ints) -> Iterator[ConstraintCheck]:
    """Constraint 6: one configuration for each model on a tier."""
    arrays = instance.arrays
    running = np.flatnonzero(replicas > 0)
    pairs, counts = np.unique(arrays.pair[running], return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        model, tier = divmod(pair, len(instance.gpu_tiers))
        subject = f"{instance.models[model].name} on {instance.gpu_tiers[tier].name}"
        yield ConstraintCheck("one_config", subject, count, 1.0, count - 1.0, ())


def _limits(instance: Instance, replicas: Ints, cost: Cost) -> Iterator[ConstraintCheck]:
    """Constraints 7: budget δ, storage S, GPUs of each tier."""
    arrays = instance.arrays
    everyone = tuple(query_type.name for query_type in instance.query_types)
    if instance.budget_usd is not None:
        used, limit = cost.budgeted_usd, instance.budget_usd
        yield ConstraintCheck("budget", "the fleet", used, limit, (used - limit) / max(1.0, limit), everyone)
    if instance.storage_gb is not None:
        used, limit = float(arrays.weights_gb @ (replicas > 0)), instance.storage_gb
        yield ConstraintCheck("storage", "the fleet", used, limit, used - limit, everyone)
    for k, tier in enumerate(instance.gpu_tiers):
        if tier.available is not None:
            used = float((arrays.gpus * replicas)[arrays.tier == k].sum())
            yield ConstraintCheck(
                "gpus", tier.name, used, float(tier.available), used - tier.available, everyone
            )


def _outcomes(
    instance: Instance, at: Ints, shares: Floats, checks: tuple[ConstraintCheck, ...]
) -> Iterator[TypeOutcome]:
    arrays = instance.arrays
    served = shares.sum(axis=1).tolist()
    delay_s = (arrays.delay_s[:, at] * shares).sum(axis=1).tolist()
    error = (arrays.error[:, at] * shares).sum(axis=1).tolist()
    own: dict[str, list[ConstraintCheck]] = {query_type.name: [] for query_type in instance.query_types}
    for check in checks:
        # That demand adds up to 1 holds no type back, nor does a leave to shed all of it; everything else may.
        if check.constraint != "demand" and not (check.constraint == "max_unmet" and check.limit >= 1.0):
            for name in check.query_types:
                own[name].append(check)
    for i, name in enumerate(own):
        yield TypeOutcome(
            query_type=name,
            delay_s=delay_s[i] / served[i] if served[i] > 0 else None,
            error=error[i] / served[i] if served[i] > 0 else None,
            unmet=min(max(1.0 - served[i], 0.0), 1.0),
            binding=min(own[name], key=lambda check: check.relative_slack, default=None),
        )
