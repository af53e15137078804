"""Demand as it came: rates step by step, and how large requests were, window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.demand.forecasters import Floats
from controller.demand.tokens import in_mean_requests
from controller.domain.catalog import Catalog
from controller.domain.instance import Instance
from controller.optimizer.scenarios import ExpectedCost, Scenarios


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean tokens and rate of a query type: what a catalog must be told to make an instance."""

    rate_per_s: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked of a fleet.

    Requests grow and shrink through the day, so what a replica can carry, how long it takes and which of them are fast
    enough is another thing in every window.

    Attributes
    ----------
    first_s : start of the first step, s since the epoch.
    step_s : length of a step.
    rates_per_s : (T, I) types in the catalog's order.
    steps_per_window : windows are whole steps; the last may be cut short.
    hour : an instance of an hour, for the catalog's deployments.
    prices : of each window, by the tokens that its requests had.
    tokens : mean tokens of the whole, by query type.
    work : (windows, I) mean rate of each window, in requests of mean size, 1/s.
    """

    first_s: float
    step_s: float
    rates_per_s: Floats
    steps_per_window: int
    hour: Instance
    prices: tuple[ExpectedCost, ...]
    tokens: Mapping[str, Tokens]
    work: Floats

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        first_s: float,
        step_s: float,
        rates_per_s: Floats,
        totals: Sequence[Floats],
        steps_per_window: int,
        output_weight: float = 5.0,
    ) -> Traffic:
        """Price every window of ``totals``, (I, 3) requests, input and output tokens; sizes unknown are the mean ones.

        Parameters
        ----------
        output_weight : work of an output token over that of an input token.
        """
        unbudgeted = replace(catalog, budget_usd_per_h=None)
        total: Floats = np.sum(np.stack(totals), axis=0)
        means = total[:, 1:] / np.maximum(total[:, :1], 1.0)
        hour = unbudgeted.instance(_tokens(catalog, means), 1.0)
        prices = []
        for part in totals:
            is_asked = part[:, :1] > 0
            own = np.where(is_asked, part[:, 1:] / np.where(is_asked, part[:, :1], 1.0), means)
            instance = unbudgeted.instance(_tokens(catalog, own), 1.0)
            prices.append(ExpectedCost(instance, Scenarios(np.ones(1), np.ones((1, len(own))))))
        window_s = step_s * steps_per_window
        work = np.stack([in_mean_requests(part, means, output_weight) for part in totals]) / window_s
        return cls(
            first_s, step_s, rates_per_s, steps_per_window, hour, tuple(prices), _tokens(catalog, means), work
        )

    def price(self, step: int) -> ExpectedCost:
        """Return what prices plans in a step."""
        return self.prices[min(step // self.steps_per_window, len(self.prices) - 1)]


def _tokens(catalog: Catalog, means: Floats) -> dict[str, Tokens]:
    pairs = zip(catalog.type_names, means.tolist(), strict=True)
    return {name: Tokens(1.0, input_tokens, output_tokens) for name, (input_tokens, output_tokens) in pairs}
