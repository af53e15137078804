"""What a tick's estimation takes for many query types: ``python -m tests.benchmarks.demand``."""

from __future__ import annotations

import time
from array import array

import click
import numpy as np

from controller.demand.counting import Totals
from controller.demand.estimator import Margin, Prior, estimate_all
from controller.demand.memory import DemandMemory
from controller.demand.policy import DemandPolicy
from controller.demand.rules import ESTIMATORS
from controller.demand.window import DemandState, TypeWindow, WindowView
from controller.interpreter import tune_interpreter

WINDOW_S = 300.0
BUCKETS = 30


def window(at: int, names: list[str], rng: np.random.Generator) -> WindowView:
    """Return a closed window in which every type was asked for."""
    counts = rng.poisson(4.0, (len(names), BUCKETS))
    types = {
        name: TypeWindow(
            DemandState.OBSERVED, Totals(sum(row), sum(row), 500 * sum(row), 100 * sum(row)), array("d", row)
        )
        for name, row in zip(names, counts.tolist(), strict=True)
    }
    return WindowView(at * WINDOW_S, (at + 1) * WINDOW_S, 1.0, True, types, (), ())


@click.command()
@click.option("--types", "num", default=10_000, show_default=True)
@click.option("--windows", default=120, show_default=True)
@click.option("--leads", default=1, show_default=True, help="Windows ahead that are planned for, each one.")
@click.option("--estimator", type=click.Choice(ESTIMATORS), default="mean_reverting", show_default=True)
def main(num: int, windows: int, leads: int, estimator: str) -> None:
    """Print CPU milliseconds of a tick, from window to estimates, and bytes of state at the beginning and the end."""
    tune_interpreter()  # as a worker does
    names = [f"type-{number}" for number in range(num)]
    priors = {name: Prior() for name in names}
    policy = DemandPolicy(estimator=estimator, headroom="quantile", stabilization_horizons=3)  # type: ignore[arg-type]
    margin = Margin(np.full(num, 0.95), leads=tuple(range(1, leads + 1)))
    rng = np.random.default_rng(0)
    memory = DemandMemory()
    spent_ms, sizes = [], []
    for at in range(windows):
        view = window(at, names, rng)
        before_s = time.process_time()
        memory, _ = estimate_all(memory, view, priors, policy, margin)
        spent_ms.append(1000 * (time.process_time() - before_s))
        sizes.append(sum(array.nbytes for array in memory.arrays.values()))
    click.echo(
        f"{estimator}, {num} types, {windows} windows: {np.median(spent_ms):.1f} ms of CPU a tick "
        f"(p95 {np.percentile(spent_ms, 95):.1f}), state {sizes[0] / 1e6:.2f} MB first, {sizes[-1] / 1e6:.2f} last"
    )


if __name__ == "__main__":
    main()
