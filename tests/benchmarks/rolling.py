"""Rolling horizons through the real optimizer against static and reactive ones: ``python -m tests.benchmarks.rolling``.

The day of a trace, multiplied, on the shipped catalog or on its penalties scaled to a ρ. Everything is priced on the
demand that came, minute by minute: rent, delay, and what was unmet; a plan that starts replicas takes effect after
their start-up time. Static fleets know the whole day, the reactive one its mean.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from controller.demand.counting import Totals, Windowing
from controller.demand.estimator import DemandEstimate
from controller.demand.policy import DemandPolicy
from controller.demand.window import DemandState
from controller.domain.catalog import Catalog, read_catalog
from controller.records import HorizonPolicy, PlanRecord
from controller.service_levels import per_query, service_levels, startup_s
from controller.settings import Settings, horizon_policy
from controller.simulate.fleets import reactive_timeline, static_plan
from controller.simulate.offline import BucketCounts, Offline, buckets_of, deterministic
from controller.simulate.score import FleetScore, InForce, Tokens, score
from controller.yaml_file import load_yaml
from replay.mapping import DEFAULT_MAP, map_rows
from replay.reader import read_traces
from replay.rows import Drops

CATALOG = Path(__file__).parents[2] / "deploy" / "config" / "catalog.yaml"
STEP_S = 60.0
BUCKET_S = 10.0


class Day:
    """The demand of some traces, in buckets and in minutes."""

    def __init__(self, paths: list[Path], catalog: Catalog, scale: int, hours: float) -> None:
        drops = Drops()
        requests = map_rows(read_traces(paths, drops), DEFAULT_MAP, drops)
        whole = list(buckets_of(requests, BUCKET_S))[: round(hours * 3600 / BUCKET_S)]
        per_step = round(STEP_S / BUCKET_S)
        whole = whole[: len(whole) // per_step * per_step]
        names = catalog.type_names
        self.first_s = whole[0].start_s
        self.buckets = [
            BucketCounts(one.start_s, {name: _times(one.totals.get(name, Totals()), scale) for name in names})
            for one in whole
        ]
        counts = np.array([[one.totals[name].count for name in names] for one in self.buckets], dtype=float)
        self.rates_per_s = counts.reshape(-1, per_step, len(names)).sum(axis=1) / STEP_S
        sums = {name: sum((one.totals[name] for one in self.buckets), Totals()) for name in names}
        self.tokens = {
            name: Tokens(
                0.0, *(part / max(total.count, 1) for part in (total.input_tokens, total.output_tokens))
            )
            for name, total in sums.items()
        }
        self.asked = [name for name, total in sums.items() if total.count]


def _times(totals: Totals, scale: int) -> Totals:
    return Totals(
        totals.events + 1, totals.count * scale, totals.input_tokens * scale, totals.output_tokens * scale
    )


def with_rho(catalog: Catalog, day: Day, rho: float) -> Catalog:
    """Return the catalog with penalties of ``rho`` times the rent of the cheapest deployment that may serve."""
    estimates = {
        name: DemandEstimate(name, DemandState.OBSERVED, 1.0, 0.0, t.input_tokens, t.output_tokens, None)
        for name, t in day.tokens.items()
    }
    arrays = per_query(catalog, 3600.0, estimates)
    rent_usd = arrays.unmet_usd * (1 - service_levels(arrays, bounded=False)) / arrays.queries
    types = tuple(
        replace(q, unmet_penalty_usd=float(rent * rho)) if q.name in day.asked else q
        for q, rent in zip(catalog.query_types, rent_usd, strict=True)
    )
    return replace(catalog, query_types=types)


def rolling(catalog: Catalog, day: Day, policy: HorizonPolicy, iterations: int) -> list[PlanRecord]:
    offline = Offline(catalog, policy, Windowing(BUCKET_S, 30.0, 960.0), deterministic(iterations))
    return [record for bucket in day.buckets for record in offline.feed(bucket)]


@click.command()
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--scale", default=40, show_default=True, help="Every request so many times.")
@click.option("--hours", default=24.0, show_default=True)
@click.option("--rho", type=float, help="Penalty over rent.  [default: the catalog's own penalties]")
@click.option("--iterations", default=1, show_default=True, help="Of the optimizer, in each tick.")
def main(traces: tuple[Path, ...], scale: int, hours: float, rho: float | None, iterations: int) -> None:
    """Print the table."""
    catalog = read_catalog(load_yaml(CATALOG))
    day = Day(list(traces), catalog, scale, hours)
    if rho is not None:
        catalog = with_rho(catalog, day, rho)
    solver, wait_s = deterministic(iterations), startup_s(catalog)
    base = horizon_policy(Settings())
    shown = " | ".join(day.asked)
    click.echo(
        f"{len(day.rates_per_s) * STEP_S / 3600:.3g} h, x{scale}, start-up {wait_s:.0f} s, unmet by type\n"
    )
    click.echo(f"| fleet | USD | rent | unmet USD | GPU-h | GPUs moved | turns | {shown} | ticks |")
    click.echo(f"|---|{'---|' * (len(day.asked) + 7)}")

    def show(name: str, timeline: list[InForce], ticks: str = "") -> None:
        found: FleetScore = score(catalog, timeline, day.rates_per_s, day.first_s, STEP_S, day.tokens, wait_s)
        unmet = " | ".join(f"{found.unmet[asked]:.2%}" for asked in day.asked)
        click.echo(
            f"| {name} | {found.total_usd:.0f} | {found.rent_usd:.0f} | {found.unmet_usd:.0f} | {found.gpu_h:.0f} "
            f"| {found.gpus_moved} | {found.turns} | {unmet} | {ticks} |"
        )

    per_window = 5
    rates = day.rates_per_s[: len(day.rates_per_s) // per_window * per_window]
    windows = rates.reshape(-1, per_window, rates.shape[1]).mean(axis=1)
    for name, chosen in (("peak", windows.max(axis=0)), ("p95", np.percentile(windows, 95, axis=0))):
        plan = static_plan(catalog, chosen, day.tokens, solver, base.horizon_s)
        show(f"static, the day's own {name}", [InForce(day.first_s, plan)])
    mix = static_plan(catalog, windows.mean(axis=0), day.tokens, solver, base.horizon_s)
    for use in (0.7, 0.5):
        timeline = reactive_timeline(catalog, mix, day.rates_per_s, day.first_s, STEP_S, day.tokens, use)
        show(f"reactive, {use:.0%} use", timeline)
    for name, changes in (
        ("rolling, quantile", {}),
        ("rolling, scenarios", {"headroom": "scenarios"}),
        ("rolling, queueing", {"headroom": "queueing"}),
        ("rolling, no margin", {"headroom": "none"}),
    ):
        demand: DemandPolicy = replace(base.demand, **changes)
        records = rolling(catalog, day, replace(base, demand=demand), iterations)
        kinds = Counter(f"{record.tick.trigger} {record.decision.name.value}" for record in records)
        ticks = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        show(name, [InForce(record.issued_at_s, record.plan) for record in records], ticks)


if __name__ == "__main__":
    main()
