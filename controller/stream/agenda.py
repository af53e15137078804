"""When there is a plan to make, and of which view of demand."""

from __future__ import annotations

import math

from controller.demand.window import DemandWindow, WindowView
from controller.horizon import next_horizon_start_s, overdue_start_s, surge_start_s, surging_types
from controller.records import HorizonPolicy, PlannerState, Trigger
from controller.replan import replan_start_s, replan_trigger
from controller.stream.fleet_news import FleetNews


class Agenda:
    """Looks at the demand, the fleet and the clock for a reason to plan.

    Parameters
    ----------
    bucket_s : length of a bucket of demand.
    patience_s : how far demand may be behind before its horizon is held.
    """

    def __init__(self, policy: HorizonPolicy, bucket_s: float, patience_s: float) -> None:
        self._policy = policy
        self._bucket_s = bucket_s
        self._patience_s = patience_s
        self._held_start_s = -math.inf
        self._looked_at_s = -math.inf
        self._is_asked = False

    def ask(self) -> None:
        """Have the plan in force made anew, by hand, as soon as there is one and demand is not behind."""
        self._is_asked = True

    def note_held(self, start_s: float) -> None:
        """Take note that the horizon from ``start_s`` on was held: it is planned yet, but not held a second time."""
        self._held_start_s = start_s

    def due(
        self, state: PlannerState, window: DemandWindow, news: FleetNews, now_s: float
    ) -> tuple[Trigger, WindowView] | None:
        """Return why there is to be a plan now, and the view to make it of; None where there is to be none.

        A horizon comes first: it takes in all that is known. While demand is behind, a change of the fleet waits for
        its hold, which goes by the new catalog and the GPUs that there are.
        """
        policy = self._policy
        watermark_s = window.watermark_s(now_s)
        start_s = next_horizon_start_s(state, watermark_s, policy)
        # Where it is over already we are still catching up: a plan for a time that is over helps nobody.
        if start_s is not None and start_s + policy.validity_s > now_s:
            return "horizon", window.view(start_s - policy.horizon_s, start_s, now_s)
        overdue_s = overdue_start_s(state, now_s, policy, self._patience_s)
        if overdue_s is None:
            trigger: Trigger | None = replan_trigger(state, news.catalog, news.fleet(now_s), now_s, policy)
            if trigger is None and self._is_asked and state.demand:
                trigger = "manual"
            if trigger is not None:
                self._is_asked = False  # any plan that is made anew is what was asked for
                end_s = replan_start_s(state, watermark_s, self._bucket_s, policy)
                return trigger, window.view(end_s - self._bucket_s, end_s, now_s)
        surge = self._surge(state, window, watermark_s, now_s)
        if surge is not None:
            return "surge", surge
        if overdue_s is None or overdue_s <= self._held_start_s:
            return None
        self._held_start_s = overdue_s
        return "horizon", window.view(overdue_s - policy.horizon_s, overdue_s, now_s)

    def _surge(
        self, state: PlannerState, window: DemandWindow, watermark_s: float, now_s: float
    ) -> WindowView | None:
        """Return the newest closed bucket, where demand runs away from the plan in it; each is looked at once."""
        start_s = surge_start_s(state, watermark_s, self._bucket_s, self._policy)
        if start_s is None or start_s <= self._looked_at_s or start_s + self._policy.horizon_s < now_s:
            return None
        self._looked_at_s = start_s
        view = window.view(start_s, start_s + self._bucket_s, now_s)
        return view if surging_types(state, view, self._policy) else None
