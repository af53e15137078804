"""AGH guided by linear programming: the default method (docs/mathematics.md, "The methods").

Multi-start, relocation and consolidation of AGH, on the level where they see what greedy construction does not: types
that share replicas. Column generation says which deployments are promising; set programs say what those that the
relaxation uses, or a past plan did, cost now; and small MILPs, over the deployments of the best plan and some more and
in the end over all that could be in a cheaper one, decide the rest.
"""

from __future__ import annotations

import math

import numpy as np

from controller.domain.arrays import Ints
from controller.optimizer.construct.gh import gh
from controller.optimizer.construct.greedy import thrifty
from controller.optimizer.guided.branch_and_bound import Effort
from controller.optimizer.guided.neighbourhoods import Neighbourhoods
from controller.optimizer.guided.reach import Reach
from controller.optimizer.guided.restricted import Outcome, RestrictedMilp
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.linear_program import hot_highs
from controller.optimizer.relaxation import Relaxation, relax
from controller.optimizer.search import Search
from controller.optimizer.state import AllocationState

_GREEDY_SHARE, _GREEDY_S, _GREEDY_S_PER_ROUTE = 0.1, 0.003, 8e-7
_PAST_SETS = 3
_RELAX_GAP = 2e-3
_START_SIZE, _START_WEIGHT = 7, 0.05
_PROGRAMS_PER_SET = 20
_PROOF_GAP, _PROOF_NODES = 1e-7, 2000
_MILP_GAP = 5e-4
_MILP_NODES = 600
_LEAST_LEFT_S = 0.004
_RESERVE_S, _RESERVE_S_PER_ROUTE = 0.0025, 3e-8


def guided(search: Search) -> None:
    """Improve ``search.best`` until told to stop. An iteration is a MILP."""
    space = search.space
    greedy_s = _GREEDY_S + _GREEDY_S_PER_ROUTE * space.num_types * space.num_deployments
    may_build = not search.initial and greedy_s <= _GREEDY_SHARE * search.stop.remaining_s()
    search.offer(AllocationState(space))  # to serve nothing is a plan, too
    if not space.num_deployments:
        return
    relaxation = _relaxation(search)
    if may_build and relaxation.prices.are_of_limits:
        # There may be no room for all of what the relaxation uses parts of.
        _build(search, relaxation)
    hunt = Hunt(search, relaxation)
    hunt.begin()
    if may_build and (search.best is None or not len(search.best.open)):
        # Nor was there, and the relaxation was stopped before it knew.
        gh(search)
    while not (search.done() or search.proved_optimal) and hunt.left_s() > _LEAST_LEFT_S:
        hunt.decide()


def _build(search: Search, relaxation: Relaxation) -> None:
    """Build a plan greedily: at once a thrifty one where it is known that the budget binds."""
    if relaxation.prices.budget:
        search.offer(thrifty(search.space))
    else:
        gh(search)


def _relaxation(search: Search) -> Relaxation:
    """Generate columns, from the last prices and the best plan where there are any, in a part of the time."""
    left_s, params = search.stop.remaining_s(), search.params
    until_s = left_s * (1.0 - params.bound_share) if math.isfinite(left_s) else -math.inf
    relaxation = relax(
        search.space,
        lambda: search.stop.remaining_s() <= until_s,
        rounds=params.bound_rounds if params.bound_share > 0 else 0,
        gap=_RELAX_GAP,
        prices=None if search.memory is None else search.memory.prices_for(search.space),
        start=search.best,
    )
    if params.bound_share > 0:
        search.lower_bound_usd, search.prices = relaxation.bound_usd, relaxation.prices
    return relaxation


class Hunt:
    """The search once prices are known."""

    def __init__(self, search: Search, relaxation: Relaxation) -> None:
        self.search, self.relaxation = search, relaxation
        total_s = search.stop.remaining_s()
        self.limited = math.isfinite(total_s)
        self.neighbourhoods = Neighbourhoods(search, relaxation)
        self.reach = Reach(total_s, self.neighbourhoods.first_size())
        self.highs = hot_highs()
        arrays = search.space.instance.arrays
        self.reserve_s = _RESERVE_S + _RESERVE_S_PER_ROUTE * arrays.num_types * arrays.num_deployments

    def left_s(self) -> float:
        """Return the time that is left, but for what the result takes to build."""
        return self.search.stop.remaining_s() - self.reserve_s

    def begin(self) -> None:
        """See what the sets at hand are good for: those of plans, and what the relaxation uses."""
        search, memory = self.search, self.search.memory
        past = [] if memory is None else memory.nearest_sets(search.space, _PAST_SETS)
        plans = [] if search.best is None else [search.best.open]
        for members in {tuple(at.tolist()): at for at in (*plans, *past)}.values():
            self._price(members)
        if not (search.initial and search.best is not None and len(search.best.open)):
            self._price(self._most_used())

    def decide(self) -> None:
        """Solve a MILP, the whole problem where that is in reach."""
        live = np.flatnonzero(self.neighbourhoods.live())
        if self.reach.has_all(self.search.space, live, self.left_s()):
            self._decide_all(live)
        else:
            self._decide_some()

    def _bound(self, usd: float) -> None:
        """Take over a bound if it is higher than the one there is."""
        search = self.search
        if search.best_usd < math.inf:
            search.lower_bound_usd = max(search.lower_bound_usd or 0.0, usd)

    def _most_used(self) -> Ints:
        """Return the deployments, one of each pair and not too many, that the relaxation uses most."""
        weights = self.relaxation.weights
        used = np.flatnonzero(weights > _START_WEIGHT)
        used = used[np.argsort(-weights[used], kind="stable")]
        of_pair = np.sort(np.unique(self.search.space.pair[used], return_index=True)[1])
        return np.sort(used[of_pair][:_START_SIZE])

    def _price(self, members: Ints) -> None:
        """Find out what a set really costs, if that is less than the best plan does."""
        search = self.search
        if len(members):
            state = cheapest_of_set(search.space, members, search.best_usd, _PROGRAMS_PER_SET, self.highs)
            if state is not None:
                search.offer(state)

    def _decide_all(self, live: Ints) -> None:
        """Solve the problem over all that is not eliminated: its bound is one on all plans, its optimum the optimum."""
        search, began_s = self.search, self.left_s()
        if not len(live):
            search.proved_optimal = True
            self._bound(search.best_usd)
            return
        nodes = None if self.limited else _PROOF_NODES
        outcome = self._milp(live, self.reach.whole_slice_s(began_s), _PROOF_GAP, nodes)
        self._bound(outcome.bound_usd)
        search.proved_optimal = outcome.solved
        self.reach.learn_of_all(search.space, live, began_s - self.left_s())

    def _decide_some(self) -> None:
        """Solve the problem over the best plan's deployments and some more."""
        search, began_s = self.search, self.left_s()
        before_usd = search.best_usd
        outcome = self._milp(self.neighbourhoods.next(self.reach.size), self.reach.slice_s)
        improved = search.best_usd < before_usd
        self.reach.learn_of_some(began_s - self.left_s(), solved=outcome.solved, improved=improved)

    def _milp(
        self, at: Ints, slice_s: float, gap: float = _MILP_GAP, nodes: int | None = _MILP_NODES
    ) -> Outcome:
        """Solve the problem over the deployments ``at`` and those of the best plan, and take up what that finds."""
        search, best = self.search, self.search.best
        until_s = max(self.left_s() - slice_s, 0.0)
        if best is not None:
            at = np.union1d(at, best.open)
        search.iterations += 1
        should_stop = (lambda: self.left_s() <= until_s) if self.limited else (lambda: False)
        outcome = RestrictedMilp(search.space, at).solve(best, Effort(gap, nodes, should_stop))
        if outcome.state is not None and search.offer(outcome.state):
            self._price(outcome.state.open)  # the MILP's gap leaves something
        return outcome
