"""What a backtest found: medians over type-days for each rule and ρ, as data, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from controller.simulate.backtest import START_S, DayScore, Rule, hindsight, play
from controller.simulate.named_rules import OURS
from controller.simulate.series import Series

MATCHING_RHOS = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Penalties at which rules are played to find what each rents where it leaves the same demand unmet."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One rule at one ρ: medians over type-days; ``coverage`` is over all windows after warm-up.

    ``rent`` is GPU-hours, starts among them, over the GPU-hours that the demand fills.
    """

    rule: str
    rho: float
    cost: float
    mean_cost: float
    unmet: float
    rent: float
    churn_per_h: float
    flaps_per_day: float
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that a backtest prints."""

    series: tuple[str, ...]
    type_days: int
    start_s: float
    summaries: tuple[Summary, ...]
    references: dict[str, dict[str, float]]
    ratios: dict[str, float]
    rent_at_matched_unmet: dict[str, float | None]
    matched_unmet: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def run_backtest(
    series: Sequence[Series],
    rules: Sequence[Rule],
    rhos: Sequence[float],
    start_s: float = START_S,
    matched_unmet: float = 0.01,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Play every rule on every series at every ρ, and sum up.

    Parameters
    ----------
    matched_unmet : share of the demand at which rents are compared; 0 for no such comparison.
    on_progress : told the name of each rule before it is played.
    """
    by_window = [list(group) for _, group in groupby(sorted(series, key=_window), key=_window)]
    summaries: list[Summary] = []
    matched: dict[str, float | None] = {}
    type_days = 0
    for rule in rules:
        on_progress(rule.name)
        played = {
            rho: [score for group in by_window for score in play(group, rule, rho, start_s)]
            for rho in sorted({*rhos, *(MATCHING_RHOS if matched_unmet > 0 else ())})
        }
        type_days = len(played[rhos[0]])
        summaries += [_summary(rule.name, rho, played[rho]) for rho in rhos]
        if matched_unmet > 0:
            matched[rule.name] = _rent_at(matched_unmet, played)
    references = {f"{rho:g}": hindsight(series, rho) for rho in rhos}
    return Report(
        tuple(one.name for one in series),
        type_days,
        start_s,
        tuple(summaries),
        references,
        _ratios(summaries, rhos),
        matched,
        matched_unmet,
    )


def _window(one: Series) -> float:
    return one.window_s


def _summary(name: str, rho: float, scores: Sequence[DayScore]) -> Summary:
    covered = [score.covered for score in scores if score.covered is not None]
    return Summary(
        rule=name,
        rho=rho,
        cost=float(np.median([score.cost for score in scores])),
        mean_cost=float(np.mean([score.cost for score in scores])),
        unmet=float(np.median([score.unmet for score in scores])),
        rent=float(np.median([score.rent for score in scores])),
        churn_per_h=float(np.median([score.churn_per_h for score in scores])),
        flaps_per_day=float(np.median([score.flaps for score in scores])),
        coverage=float(np.mean(covered)) if covered else None,
    )


def _rent_at(unmet: float, played: dict[float, list[DayScore]]) -> float | None:
    """Return the mean rent at which a rule leaves so much unmet on average; None where it never does."""
    points = sorted(
        {
            (float(np.mean([s.unmet for s in scores])), float(np.mean([s.rent for s in scores])))
            for scores in played.values()
        }
    )
    shares = [share for share, _ in points]
    if len(points) < 2 or not shares[0] <= unmet <= shares[-1]:
        return None
    return float(np.interp(unmet, shares, [rent for _, rent in points]))


def _ratios(summaries: Sequence[Summary], rhos: Sequence[float]) -> dict[str, float]:
    """Return, for each ρ, our cost over the least of the others."""
    found = {}
    for rho in rhos:
        ours = [s.cost for s in summaries if s.rho == rho and s.rule == OURS]
        others = [s.cost for s in summaries if s.rho == rho and s.rule != OURS]
        if ours and others:
            found[f"{rho:g}"] = ours[0] / min(others)
    return found


def as_table(report: Report) -> str:
    """Return the report as Markdown."""
    rhos = list(dict.fromkeys(summary.rho for summary in report.summaries))
    head = "".join(f" ρ = {rho:g} |" for rho in rhos)
    lines = [
        f"{len(report.series)} series, {report.type_days} type-days; cost (unmet, coverage), medians over "
        f"type-days; a start costs {report.start_s:g} s of rent.",
        "",
        f"| rule |{head} churn /h | flaps /day | rent at {report.matched_unmet:.1%} unmet |",
        f"|---|{'---|' * (len(rhos) + 3)}",
    ]
    for name in dict.fromkeys(summary.rule for summary in report.summaries):
        own = [summary for summary in report.summaries if summary.rule == name]
        cells = [
            f"{s.cost:.3f} ({s.unmet:.1%}, {'-' if s.coverage is None else format(s.coverage, '.1%')})"
            for s in own
        ]
        middle = own[len(own) // 2]
        matched = report.rent_at_matched_unmet.get(name)
        cells += [f"{middle.churn_per_h:.2f}", f"{middle.flaps_per_day:.0f}"]
        cells.append("-" if matched is None else f"{matched:.3f}")
        shown = f"**{name}**" if name == OURS else name
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    for kind in ("peak", "mean", "p95", "best"):
        costs = [f"{report.references[f'{rho:g}'][kind]:.3f}" for rho in rhos]
        lines.append(f"| static, {kind} in hindsight | {' | '.join(costs)} | 0.00 | 0 | - |")
    ratios = ", ".join(f"{ratio:.3f} at ρ = {rho}" for rho, ratio in report.ratios.items())
    return "\n".join([*lines, "", f"Ours over the best of the others: {ratios}."])
