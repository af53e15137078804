"""Rolling horizons through the real optimizer against static and reactive ones: ``python -m tests.benchmarks.rolling``.

The day of a trace, multiplied, on the shipped catalog or on its penalties scaled to a ρ. Multiplied as it is, a trace's
own noise grows with it: every request comes so many times at once. Spread, it is so many sites that are like it, each
by a shift of its own. Everything is priced on the
demand that came, minute by minute and with the tokens that requests had: rent, delay, and what was unmet; a plan that
starts replicas takes effect when they are ready. Static fleets know the whole day, or the hours before those that are
scored; the reactive one knows the day's mean, by which its mix of deployments is chosen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import click
import numpy as np

from controller.demand.counting import Totals, Windowing
from controller.demand.estimator import DemandEstimate
from controller.demand.forecasters import Floats
from controller.demand.policy import HEADROOMS, DemandPolicy, Headroom
from controller.demand.window import DemandState
from controller.domain.catalog import Catalog, read_catalog
from controller.records import HorizonPolicy, PlanRecord
from controller.service_levels import per_query, service_levels
from controller.settings import Settings, horizon_policy
from controller.simulate.fleets import reactive_timeline, static_plan
from controller.simulate.offline import BucketCounts, Offline, Solve, buckets_of, deterministic
from controller.simulate.rollout import InForce
from controller.simulate.score import FleetScore, score
from controller.simulate.traffic import Traffic
from controller.yaml_file import load_yaml
from replay.mapping import DEFAULT_MAP, map_rows
from replay.reader import read_traces
from replay.rows import Drops

CATALOG = Path(__file__).parents[2] / "deploy" / "config" / "catalog.yaml"
STEP_S = 60.0
WINDOW_STEPS = 5
BUCKET_S = 10.0
FEW_MODELS = 3
FEW_TIERS = ("RTX-4090-INT8", "RTX-4090-INT4", "H100-80GB-INT8")


class Day:
    """The demand of some traces, in buckets, and as traffic in minutes."""

    def __init__(
        self, paths: list[Path], catalog: Catalog, scale: int, hours: float, spread_s: float = 0.0
    ) -> None:
        drops = Drops()
        requests = map_rows(read_traces(paths, drops), DEFAULT_MAP, drops)
        whole = list(buckets_of(requests, BUCKET_S))[: round(hours * 3600 / BUCKET_S)]
        per_step = round(STEP_S / BUCKET_S)
        per_window = per_step * WINDOW_STEPS
        whole = whole[: len(whole) // per_window * per_window]
        names = catalog.type_names
        table = np.array([[_row(one.totals.get(name, Totals())) for name in names] for one in whole])
        largest = round(spread_s / BUCKET_S)
        shifts = np.random.default_rng(0).integers(-largest, largest + 1, scale)
        self.table = np.sum([np.roll(table, shift, axis=0) for shift in shifts], axis=0)
        self.buckets = [
            BucketCounts(
                one.start_s, {name: Totals(1, *map(int, row)) for name, row in zip(names, rows, strict=True)}
            )
            for one, rows in zip(whole, self.table.tolist(), strict=True)
        ]
        self.asked = [name for name, count in zip(names, table[:, :, 0].sum(axis=0), strict=True) if count]
        self.traffic = self.priced(catalog)

    def priced(self, catalog: Catalog) -> Traffic:
        """Return the traffic at the prices of a catalog with the same query types."""
        per_step, num = round(STEP_S / BUCKET_S), self.table.shape[1]
        per_minute = self.table[:, :, 0].reshape(-1, per_step, num).sum(axis=1)
        windows = self.table.reshape(-1, per_step * WINDOW_STEPS, num, 3).sum(axis=1)
        return Traffic.of(
            catalog, self.buckets[0].start_s, STEP_S, per_minute / STEP_S, list(windows), WINDOW_STEPS
        )


def _row(totals: Totals) -> tuple[float, float, float]:
    return float(totals.count), float(totals.input_tokens), float(totals.output_tokens)


def with_rho(catalog: Catalog, day: Day, rho: float) -> Catalog:
    """Return the catalog with penalties of ``rho`` times the rent of the cheapest deployment that may serve."""
    estimates = {
        name: DemandEstimate(name, DemandState.OBSERVED, 1.0, 0.0, t.input_tokens, t.output_tokens, None)
        for name, t in day.traffic.tokens.items()
    }
    arrays = per_query(catalog, 3600.0, estimates)
    rent_usd = arrays.unmet_usd * (1 - service_levels(arrays, bounded=False)) / arrays.queries
    types = tuple(
        replace(q, unmet_penalty_usd=float(rent * rho)) if q.name in day.asked else q
        for q, rent in zip(catalog.query_types, rent_usd, strict=True)
    )
    return replace(catalog, query_types=types)


def few_deployments(catalog: Catalog) -> Catalog:
    """Return the catalog with the smaller models on three of the cheaper tiers, each at every TP degree."""
    tiers = tuple(replace(tier, pp_depths=(1,)) for tier in catalog.gpu_tiers if tier.name in FEW_TIERS)
    return replace(catalog, models=catalog.models[:FEW_MODELS], gpu_tiers=tiers)


def rolling(catalog: Catalog, day: Day, policy: HorizonPolicy, solver: Solve) -> list[PlanRecord]:
    """Return the plans of the controller, fed bucket by bucket."""
    offline = Offline(catalog, policy, Windowing(BUCKET_S, 30.0, 960.0), solver)
    return [record for bucket in day.buckets for record in offline.feed(bucket)]


def fixed_fleets(
    catalog: Catalog, day: Day, solver: Solve, horizon_s: float, known: int
) -> dict[str, list[InForce]]:
    """Return the fleets to compare with, by name; ``known`` windows come before those that are scored."""
    traffic = day.traffic

    def plan(work_per_s: Floats) -> list[InForce]:
        return [InForce(traffic.first_s, static_plan(catalog, work_per_s, traffic, solver, horizon_s))]

    work = traffic.work
    found = {
        "static, the day's own peak": plan(work.max(axis=0)),
        "static, the day's own p95": plan(np.percentile(work, 95, axis=0)),
    }
    if known:
        found["static, p95 of the hours before"] = plan(np.percentile(work[:known], 95, axis=0))
    mix = plan(work.mean(axis=0))[0].plan
    for use in (0.9, 0.7, 0.5):
        found[f"reactive, {use:.0%} use"] = reactive_timeline(mix, traffic, use)
    return found


def _columns(name: str, asked: list[str], found: FleetScore, ticks: str) -> str:
    by_type = " | ".join(f"{found.unmet[one]:.2%} + {found.late[one]:.1%}" for one in asked)
    return (
        f"| {name} | {found.total_usd + found.late_usd:.0f} | {found.total_usd:.0f} | {found.served_usd:.0f} "
        f"| {found.rent_usd:.0f} | {found.unmet_usd:.1f} | {found.late_usd:.1f} | {found.gpus_moved} "
        f"| {by_type} | {ticks} |"
    )


@click.command()
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--scale", default=40, show_default=True, help="Every request so many times.")
@click.option("--spread", "spread_s", default=0.0, metavar="S", help="Each time shifted by up to S seconds.")
@click.option("--hours", default=24.0, show_default=True)
@click.option("--known", "known_h", default=12.0, show_default=True, help="Hours before those scored apart.")
@click.option("--rho", type=float, help="Penalty over rent.  [default: the catalog's own penalties]")
@click.option("--iterations", default=1, show_default=True, help="Of the optimizer, in each tick.")
@click.option("--few", "is_few", is_flag=True, help="36 deployments instead of the whole catalog's.")
@click.option("--headroom", "headrooms", multiple=True, type=click.Choice(HEADROOMS), default=("quantile",))
@click.option("--stabilization", "stabilizations", multiple=True, type=int, default=(3,), show_default=True)
@click.option(
    "--level", "levels", multiple=True, type=float, help="τ of the quantile.  [default: each type's own]"
)
def main(
    traces: tuple[Path, ...],
    scale: int,
    spread_s: float,
    hours: float,
    known_h: float,
    rho: float | None,
    iterations: int,
    is_few: bool,
    headrooms: tuple[Headroom, ...],
    stabilizations: tuple[int, ...],
    levels: tuple[float, ...],
) -> None:
    """Print two tables: the whole day, and what comes after the hours that are known."""
    catalog = read_catalog(load_yaml(CATALOG))
    catalog = few_deployments(catalog) if is_few else catalog
    solver = deterministic(iterations)
    day = Day(list(traces), catalog, scale, hours, spread_s)
    if rho is not None:
        catalog = with_rho(catalog, day, rho)
        day.traffic = day.priced(catalog)
    base = horizon_policy(Settings())
    per_window = WINDOW_STEPS * STEP_S
    known = round(known_h * 3600 / per_window) if known_h < hours else 0
    fleets = fixed_fleets(catalog, day, solver, base.horizon_s, known)
    ticks = dict.fromkeys(fleets, "")
    for headroom, horizons, level in product(headrooms, stabilizations, levels or (None,)):
        demand: DemandPolicy = replace(
            base.demand, headroom=headroom, stabilization_horizons=horizons, quantile=level
        )
        records = rolling(catalog, day, replace(base, demand=demand), solver)
        name = f"rolling, {headroom}, {horizons}" + ("" if level is None else f", {level:g}")
        fleets[name] = [InForce(record.issued_at_s, record.plan) for record in records]
        kinds = Counter(f"{record.tick.trigger} {record.decision.name.value}" for record in records)
        ticks[name] = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    for first in (0, known * WINDOW_STEPS) if known else (0,):
        click.echo(
            f"\nHours {first * STEP_S / 3600:g} to {hours:g}, x{scale} over {spread_s:g} s; "
            "unmet + late by type, late ones as unmet in the first sum\n"
        )
        click.echo(
            "| fleet | all, USD | late for nothing | served | rent | unmet | late | GPUs moved | "
            f"{' | '.join(day.asked)} | ticks |"
        )
        click.echo(f"|---|{'---|' * (len(day.asked) + 8)}")
        for name, timeline in fleets.items():
            click.echo(_columns(name, day.asked, score(day.traffic, timeline, first), ticks[name]))


if __name__ == "__main__":
    main()
