"""What a tick's estimation takes for many query types: ``python -m tests.benchmarks.demand``."""

from __future__ import annotations

import time

import click
import numpy as np

from controller.demand.rules import ESTIMATORS, make_estimator


@click.command()
@click.option("--types", "num", default=10_000, show_default=True)
@click.option("--windows", default=200, show_default=True)
@click.option("--estimator", type=click.Choice(ESTIMATORS), default="mean_reverting", show_default=True)
def main(num: int, windows: int, estimator: str) -> None:
    """Print CPU milliseconds of a tick and bytes of state, at the beginning and at the end."""
    rule = make_estimator(estimator)  # type: ignore[arg-type]
    state = rule.fresh(num)
    rng = np.random.default_rng(0)
    spent_ms, sizes = [], []
    for _ in range(windows):
        counts = rng.poisson(100, num).astype(float)
        before_s = time.process_time()
        state = rule.observe(state, counts)
        outlook = rule.outlook(state)
        outlook.quantile(0.9)
        outlook.stddev()
        spent_ms.append(1000 * (time.process_time() - before_s))
        sizes.append(sum(array.nbytes for array in state.values()))
    click.echo(
        f"{estimator}, {num} types, {windows} windows: {np.median(spent_ms):.1f} ms of CPU a tick "
        f"(p95 {np.percentile(spent_ms, 95):.1f}), state {sizes[0] / 1e6:.2f} MB first, {sizes[-1] / 1e6:.2f} last"
    )


if __name__ == "__main__":
    main()
