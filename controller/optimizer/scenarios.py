"""Demand that is not known: scenarios with weights, what a plan costs over all of them, and a plan that costs less.

First stage: replicas *and* shares, for both are published and stand until the next plan. What happens then is no
choice: routers keep to the shares whatever comes, and a deployment that gets more than it can carry sheds the same
part of every type that is sent there, for queues know nothing of penalties. So the expected cost prices exactly that:
rent and weights as they are, delay and stored tokens of what is served in each scenario, and the unmet penalty on all
the rest. Routing anew in every scenario (recourse) would be cheaper, and is what the next plan does; counting on it
here would rent too little for the time until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Floats, InstanceArrays, Ints
from controller.domain.evaluate import evaluate_arrays
from controller.domain.instance import Instance
from controller.optimizer.routing import route

_BETTER = 1e-9
_NEWCOMERS = 4


@dataclass(frozen=True, eq=False)
class Scenarios:
    """S possible demands.

    Parameters
    ----------
    weights : (S,) how likely each is; at least 0, not all 0. They need not add up to 1.
    rates_per_s : (S, I) arrival rates, in the order of the instance's query types.

    Raises
    ------
    ValueError : shapes do not fit, or a number is negative or not finite.
    """

    weights: Floats
    rates_per_s: Floats

    def __post_init__(self) -> None:
        if self.rates_per_s.ndim != 2 or self.weights.shape != self.rates_per_s.shape[:1]:
            raise ValueError(
                f"weights {self.weights.shape} and rates {self.rates_per_s.shape} must be (S,) and (S, I)"
            )
        for name in ("weights", "rates_per_s"):
            values = getattr(self, name)
            if not (np.isfinite(values) & (values >= 0)).all():
                raise ValueError(f"{name} must be finite and at least 0, got {values.min(initial=0.0)!r}")
        if not self.weights.sum() > 0:
            raise ValueError("weights must not all be 0")

    @property
    def probabilities(self) -> Floats:
        """(S,) weights that add up to 1."""
        result: Floats = self.weights / self.weights.sum()
        return result

    @property
    def mean_per_s(self) -> Floats:
        """(I,) the mean demand."""
        result: Floats = self.probabilities @ self.rates_per_s
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What a plan costs over all scenarios: USD over the horizon, and the expected part (I,) of each type unmet."""

    total_usd: float
    unmet_usd: float
    unmet: Floats


class ExpectedCost:
    """Prices plans for an instance, over scenarios; the instance's own rates play no part."""

    def __init__(self, instance: Instance, scenarios: Scenarios) -> None:
        if scenarios.rates_per_s.shape[1] != len(instance.query_types):
            raise ValueError(
                f"scenarios have {scenarios.rates_per_s.shape[1]} query types, the instance {len(instance.query_types)}"
            )
        self._arrays = with_rates(
            instance, np.ones(len(instance.query_types))
        ).arrays  # all of it per 1 query/s
        self._rates, self._probability = scenarios.rates_per_s, scenarios.probabilities

    @property
    def arrays(self) -> InstanceArrays:
        """The instance's arrays, with each type asked for once a second."""
        return self._arrays

    def over(self, scenarios: Scenarios) -> ExpectedCost:
        """Return the same over other scenarios."""
        found = copy(self)
        found._rates, found._probability = scenarios.rates_per_s, scenarios.probabilities
        return found

    def of(self, replicas: Ints, shares: Floats) -> Expected:
        """Price ``replicas`` (D,) and ``shares`` (I, D)."""
        arrays, rates = self._arrays, self._rates
        used = np.flatnonzero((replicas > 0) | (shares > 0).any(axis=0))
        sent, running = shares[:, used], replicas[used].astype(np.float64)
        load = np.maximum(
            rates @ (arrays.compute_load[:, used] * sent), rates @ (arrays.memory_load[:, used] * sent)
        )
        carried = np.divide(
            running, load, out=np.ones_like(load), where=load > running
        )  # (S, n) part that is served
        served = np.einsum("in,sn->si", sent, carried)
        missed = np.clip(1.0 - served, 0.0, 1.0)
        per_route = np.einsum("si,in,sn,in->s", rates, sent, carried, arrays.delay_usd[:, used])
        unmet_usd = float(self._probability @ (rates * missed @ arrays.unmet_usd))
        started = np.maximum(replicas - arrays.incumbent, 0)
        total_usd = (
            float(arrays.rent_usd @ replicas)
            + float(arrays.weights_storage_usd @ (replicas > 0))
            + float(arrays.start_usd @ started)
            + float(self._probability @ (per_route + rates * served @ arrays.token_storage_usd))
            + unmet_usd
        )
        asked = self._probability @ rates
        lost = self._probability @ (rates * missed)
        return Expected(
            total_usd, unmet_usd, np.divide(lost, asked, out=np.zeros_like(lost), where=asked > 0)
        )


def with_rates(instance: Instance, rates_per_s: Floats) -> Instance:
    """Return the instance with other arrival rates (I,)."""
    pairs = zip(instance.query_types, rates_per_s.tolist(), strict=True)
    return replace(
        instance, query_types=tuple(replace(item, arrival_rate_per_s=rate) for item, rate in pairs)
    )


def improve(
    instance: Instance,
    replicas: Ints,
    shares: Floats,
    scenarios: Scenarios,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Ints, Floats]:
    """Buy and sell replicas, and route anew, while the expected cost falls; every step keeps every limit.

    Parameters
    ----------
    replicas, shares : (D,) and (I, D), a plan that the judge accepts for ``instance``; its rates are what limits are
        judged by.

    Returns
    -------
    (D,) and (I, D) : never dearer, in expectation, than what came in.
    """
    price = ExpectedCost(instance, scenarios)
    best, best_usd = (replicas, shares), price.of(replicas, shares).total_usd
    views = [with_rates(instance, rates) for rates in np.unique(scenarios.rates_per_s, axis=0)]
    views.append(with_rates(instance, scenarios.mean_per_s))
    while not should_stop():
        found = None
        for neighbourhood in (
            _resized(*best),
            _rerouted(instance, views, *best),
            _opened(instance, price, *best),
        ):
            for candidate in neighbourhood:
                if should_stop():
                    break
                usd = price.of(*candidate).total_usd
                if (
                    usd < best_usd - _BETTER * abs(best_usd)
                    and evaluate_arrays(instance, *candidate).is_feasible
                ):
                    best_usd, found = usd, candidate
            if found is not None:
                break
        if found is None:
            break
        best = found
    return best


def _resized(replicas: Ints, shares: Floats) -> Iterator[tuple[Ints, Floats]]:
    """Yield the plan with one replica more or less of each deployment that runs, shares as they are."""
    for d in np.flatnonzero(replicas):
        for step in (1, -1):
            if replicas[d] + step > 0:
                yield _changed(replicas, int(d), step), shares


def _rerouted(
    instance: Instance, views: list[Instance], replicas: Ints, shares: Floats
) -> Iterator[tuple[Ints, Floats]]:
    """Yield the fleet, and the fleet with a replica less or more, routed for each scenario, and for their mix."""
    fleets = [replicas]
    for d in np.flatnonzero(replicas):
        fleets += [_changed(replicas, int(d), -1), _changed(replicas, int(d), 1)]
    for n, fleet in enumerate(fleets):
        routed = [_route(instance, view, fleet) for view in (views if n == 0 else views[-1:])]
        for found in (*routed, np.mean(routed, axis=0)):
            yield fleet, found
            if n == 0:
                yield fleet, (found + shares) / 2


def _opened(
    instance: Instance, price: ExpectedCost, replicas: Ints, shares: Floats
) -> Iterator[tuple[Ints, Floats]]:
    """Yield the plan with a replica of something new, for the type whose unmet demand costs most."""
    arrays = instance.arrays
    lost_usd = price.of(replicas, shares).unmet * arrays.unmet_usd
    i = int(np.argmax(lost_usd))
    if lost_usd[i] <= 0:
        return
    free = ~np.isin(arrays.pair, arrays.pair[replicas > 0])
    fit = arrays.fast_enough[i] & (arrays.mean_excess[0, i] <= 0) & free & (arrays.replicas_cap >= 1)
    order = np.argsort(
        np.where(fit, arrays.rent_usd * arrays.compute_load[i] + arrays.route_usd[i], np.inf), kind="stable"
    )
    for d in order[: min(_NEWCOMERS, int(fit.sum()))]:
        fleet = _changed(replicas, int(d), 1)
        yield fleet, _route(instance, instance, fleet)


def _route(instance: Instance, view: Instance, fleet: Ints) -> Floats:
    """Return the cheapest shares for the demand of ``view``; for the instance's own where that would not fit them."""
    shares = route(view, fleet)
    arrays = instance.arrays
    load = np.maximum((arrays.compute_load * shares).sum(axis=0), (arrays.memory_load * shares).sum(axis=0))
    if (load > fleet + _BETTER).any():
        shares = route(instance, fleet)
    return shares


def _changed(replicas: Ints, d: int, step: int) -> Ints:
    changed = replicas.copy()
    changed[d] += step
    return changed
