"""How fast what is planned for may move: up at once, down with care, to nothing only when that is proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.demand.forecasters import Arrays, Bools, Floats
from controller.demand.policy import DemandPolicy


@dataclass(frozen=True, slots=True)
class Targets:
    """What is wanted of the next horizon.

    Attributes
    ----------
    wanted_per_s : (N,) rates, margin included.
    reasons : (N,) what decided them; overwritten where something else does.
    heard, is_idle, was_seen : (N,) whether the window tells of a type, proves it idle, or an earlier one told of it.
    floor_per_s, retention_s : (N,).
    """

    wanted_per_s: Floats
    reasons: NDArray[Any]
    heard: Bools
    is_idle: Bools
    was_seen: Bools
    floor_per_s: Floats
    retention_s: Floats


def fresh_targets(num: int, policy: DemandPolicy) -> dict[str, NDArray[Any]]:
    """Return what is remembered of ``num`` types that nothing was planned for."""
    return {
        "last": np.zeros((num, policy.stabilization_horizons)),
        "planned": np.zeros(num),
        "idle_s": np.zeros(num),
    }


def shape(
    state: Arrays, targets: Targets, window_s: float, policy: DemandPolicy
) -> tuple[dict[str, NDArray[Any]], Floats]:
    """Return what is remembered from now on, and the rates (N,) to plan for, 1/s."""
    heard, reasons, before = targets.heard, targets.reasons, state["planned"]
    last = np.where(
        heard[:, None], np.column_stack([state["last"][:, 1:], targets.wanted_per_s]), state["last"]
    )
    planned = np.where(heard | ~targets.was_seen, targets.wanted_per_s, before)
    reasons[~heard & targets.was_seen] = "held"

    highest = np.minimum(before, last.max(axis=1))
    is_eased = heard & (planned < highest)
    planned, reasons[is_eased] = np.where(is_eased, highest, planned), "stabilized"

    had_some = heard & targets.was_seen & (before > 0)
    lowest = np.zeros_like(before) if policy.max_step_down is None else before * (1 - policy.max_step_down)
    # A type that hardly anybody asked for may come in any number: a factor of next to nothing is nothing.
    is_small = before * window_s < 1.0
    largest = (
        np.full_like(before, np.inf)
        if policy.max_step_up is None
        else np.where(is_small, np.inf, before * policy.max_step_up)
    )
    is_stepped = had_some & ((planned < lowest) | (planned > largest))
    planned, reasons[is_stepped] = np.where(is_stepped, np.clip(planned, lowest, largest), planned), "step"

    idle_s = np.where(heard, np.where(targets.is_idle, state["idle_s"] + window_s, 0.0), state["idle_s"])
    is_over = targets.is_idle & (idle_s >= targets.retention_s)
    is_kept = targets.is_idle & ~is_over & targets.was_seen & (planned < 1.0 / window_s)
    planned = np.where(is_over, 0.0, np.where(is_kept, 1.0 / window_s, planned))
    reasons[is_over], reasons[is_kept] = "idle", "retained"

    is_low = planned < targets.floor_per_s
    planned, reasons[is_low] = np.where(is_low, targets.floor_per_s, planned), "floor"
    return {"last": last, "planned": planned, "idle_s": idle_s}, planned
