"""The controller without a broker: traces through the same window, ``tick`` and ``conclude`` as in the worker.

Time is event time. A bucket's requests are known when the bucket is over, its window closes when all lateness that is
allowed is, and a solve takes no time; with a solver that counts iterations, the plans are those of the worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.demand.window import DemandWindow, WindowView
from controller.domain.catalog import Catalog
from controller.horizon import begin, conclude, next_horizon_start_s, surge_start_s, surging_types, tick
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations
from controller.records import (
    HorizonPolicy,
    PlannerState,
    PlanRecord,
    SolverAnswer,
    SolveRequest,
    SolverFailure,
    TickInput,
    Trigger,
)

Solve = Callable[[SolveRequest], SolverAnswer | SolverFailure]


@dataclass(frozen=True, slots=True)
class BucketCounts:
    """What a bucket of event time holds, by query type; one that is missing was silent, one with 0 was idle."""

    start_s: float
    totals: dict[str, Totals]


def buckets_of(
    requests: Iterable[tuple[float, str, int, int]], bucket_s: float, types: Iterable[str] = ()
) -> Iterator[BucketCounts]:
    """Yield the buckets of requests (time, query type, input tokens, output tokens) that are in order of time.

    Parameters
    ----------
    types : query types that heartbeats speak for, in every bucket.
    """
    beat = {name: Totals(1, 0, 0, 0) for name in types}
    totals, current = dict(beat), None
    for time_s, query_type, input_tokens, output_tokens in requests:
        bucket = math.floor(time_s / bucket_s)
        current = bucket if current is None else current
        while bucket > current:
            yield BucketCounts(current * bucket_s, totals)
            totals, current = dict(beat), current + 1
        totals[query_type] = totals.get(query_type, Totals()) + Totals(1, 1, input_tokens, output_tokens)
    if current is not None:
        yield BucketCounts(current * bucket_s, totals)


def deterministic(iterations: int = 1, seed: int = 0, method: str = "agh") -> Solve:
    """Return a solver whose plans depend on nothing but the request."""

    def solved(request: SolveRequest) -> SolverAnswer:
        result = solve(
            request.instance,
            MaxIterations(iterations),
            seed,
            initial=request.initial,
            method=method,
            clock=lambda: 0.0,
            scenarios=request.scenarios,
            memory=request.memory,
        )
        status, plan = result.status, result.plan or replace(request.initial, deployments=(), routes=())
        conflict = tuple(result.conflict)
        return SolverAnswer(status, result.method, 0.0, plan, result.lower_bound_usd, conflict, result.memory)

    return solved


class Offline:
    """One planner, fed bucket by bucket.

    Parameters
    ----------
    windowing, idle_timeout_s : how event time is cut up, and what counts as silent, as in the worker.
    """

    def __init__(
        self,
        catalog: Catalog,
        policy: HorizonPolicy,
        windowing: Windowing,
        solver: Solve,
        idle_timeout_s: float = 60.0,
    ) -> None:
        self._catalog, self._policy, self._windowing, self._solver = catalog, policy, windowing, solver
        self._window = DemandWindow(1, windowing.bucket_s, idle_timeout_s)
        self._ledger = PartitionLedger(windowing, 0)
        self._offset = 0
        self._looked_at_s = -math.inf
        self.state = PlannerState(epoch=0)

    def feed(self, bucket: BucketCounts) -> list[PlanRecord]:
        """Count a bucket that is over; return the plans that are due."""
        ledger = self._ledger
        ledger.add(
            (query_type, bucket.start_s, totals.count, totals.input_tokens, totals.output_tokens)
            for query_type, totals in bucket.totals.items()
        )
        self._offset += len(bucket.totals)
        now_s = bucket.start_s + self._windowing.bucket_s
        ledger.advance(self._offset, now_s)
        self._window.apply(ledger, is_at_end=False)
        self.state = begin(self.state, self._window.since_s, self._policy)
        return self._due(self._window.watermark_s(now_s), now_s)

    def _due(self, watermark_s: float, now_s: float) -> list[PlanRecord]:
        policy, bucket_s = self._policy, self._windowing.bucket_s
        start_s = next_horizon_start_s(self.state, watermark_s, policy)
        if start_s is not None:
            view = self._window.view(start_s - policy.horizon_s, start_s, now_s)
            return [self._plan("horizon", view, now_s)]
        begin_s = surge_start_s(self.state, watermark_s, bucket_s, policy)
        if begin_s is None or begin_s <= self._looked_at_s:
            return []
        self._looked_at_s = begin_s
        view = self._window.view(begin_s, begin_s + bucket_s, now_s)
        return [self._plan("surge", view, now_s)] if surging_types(self.state, view, policy) else []

    def _plan(self, trigger: Trigger, view: WindowView, now_s: float) -> PlanRecord:
        state, effect = tick(self.state, TickInput(trigger, now_s, self._catalog, view), self._policy)
        if isinstance(effect, SolveRequest):
            self.state, record = conclude(state, self._solver(effect), now_s, self._policy)
        else:
            self.state, record = state, effect
        return record
