"""Which deployment the next request goes to, by the plan in force."""

from __future__ import annotations

import threading

from controller.errors import InputError
from controller.router.shares import weights_of
from controller.router.turns import Turns
from schemas import AllocationPlan


class RouteChooser:
    """Chooses deployments in exact long-run proportion to a plan's fractions, without randomness.

    After n choices for a query type under one plan, each deployment, and the unmet share, has been chosen
    ``floor(n f)`` or ``ceil(n f)`` times, where f is its fraction kept to 1e-9. What carries over to the next plan is
    told by :class:`controller.router.turns.Turns`. Each gateway keeps its own count: g of them stray by less than g.

    May be used from several threads.
    """

    def __init__(self) -> None:
        self._turns: dict[str, Turns] = {}
        self._has_plan = False
        self._lock = threading.Lock()

    def use(self, plan: AllocationPlan) -> None:
        """Choose by ``plan`` from now on.

        Raises
        ------
        MessageError
            The plan cannot be routed by; the one before stays.
        """
        by_type = weights_of(plan)
        with self._lock:
            known, self._turns = self._turns, {}
            for query_type, weights in by_type.items():
                turns = known.get(query_type)
                if turns is None:
                    turns = Turns(weights)
                else:
                    turns.reweigh(weights)
                self._turns[query_type] = turns
            self._has_plan = True

    def choose(self, query_type: str) -> str | None:
        """Return the id of the deployment that the next request goes to, or None where the plan sheds it.

        Raises
        ------
        InputError
            There is no plan yet, or it says nothing of this query type. Neither is a reason to shed.
        """
        with self._lock:
            turns = self._turns.get(query_type)
            if turns is not None:
                return turns.next()
        if not self._has_plan:
            raise InputError(f"route for {query_type!r}", "needs a plan, and none has come yet")
        raise InputError("query_type", "must be one that the plan in force knows", query_type)
