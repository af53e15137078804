"""``python -m tests.benchmarks.fuzz_optimizer``: random instances, every method; each ends in a plan or a clear no.

What must hold of each instance, whatever is in it: every method ends, with a plan that the judge accepts or with words
for what clashes; all agree on whether there is a plan; no plan is below any bound or below a proved optimum; and what a
solve is given to start from is never made worse. Anything else is a finding, told with the seed that makes it again.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import replace

import click
import numpy as np

from controller.domain.entities import FoundationModel, GpuTier, Profile, QueryType, Switching
from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.instance_file import read_instance, write_instance
from controller.optimizer.result import Result
from controller.optimizer.solve import METHODS, solve
from controller.optimizer.stop import MaxIterations

_ITERATIONS = {"agh": 3, "agh-plain": 3, "milp": 300}
_ROUNDING = 1e-6


def random_instance(seed: int) -> Instance:
    """Return an instance of 1-4 types, 1-3 models and tiers, each option as likely as not, many of them extreme."""
    random = np.random.default_rng(seed)

    def pick(*values: float) -> float:
        return float(values[int(random.integers(len(values)))])

    def maybe(*values: float) -> float | None:
        return pick(*values) if random.random() < 0.5 else None

    strict = random.random() < 0.5
    types = tuple(
        QueryType(
            f"type-{i}",
            arrival_rate_per_s=pick(0.0, 0.3, 4.0, 25.0, 400.0, 1e6),
            input_tokens=pick(0, 100, 900),
            output_tokens=pick(0, 1, 80, 500),
            delay_slo_s=pick(1e-3, 0.05, 0.8, 3.0, 20.0, 1e4),
            error_slo=pick(1e-3, 0.03, 0.06, 0.12, 1.0),
            delay_penalty_usd_per_s=pick(0.0, 1e-5, 1e-4, 1.0),
            unmet_penalty_usd=pick(0.0, 1e-4, 3e-3, 0.05, 10.0),
            token_storage_gb=pick(0.0, 1e-7, 1e-4),
            max_unmet=pick(1.0, 1.0, 0.99, 0.3, 0.0) if strict else 1.0,
        )
        for i in range(int(random.integers(1, 5)))
    )
    models = tuple(
        FoundationModel(
            f"model-{j}",
            params_b=pick(1.0, 8.0, 40.0),
            weights_gb=pick(2.0, 16.0, 80.0, 2_000.0),
            kv_cache_gb_per_token=pick(0.0, 1e-4, 5e-3),
            base_error={item.name: pick(0.0, 0.01, 0.05, 0.1, 0.5) for item in types},
        )
        for j in range(int(random.integers(1, 4)))
    )
    tiers = tuple(
        GpuTier(
            f"tier-{k}",
            memory_gb=pick(24.0, 80.0),
            memory_bandwidth_gb_s=pick(800.0, 3000.0),
            compute_tflops=pick(120.0, 900.0),
            price_usd_per_h=pick(0.01, 0.5, 2.0, 60.0),
            tp_degrees=((1,), (1, 2), (2, 4), (1, 2, 4, 8))[int(random.integers(4))],
            pp_depths=((1,), (1, 2), (2,))[int(random.integers(3))],
            weight_scale=pick(1.0, 0.5, 0.25),
            error_multiplier=pick(1.0, 1.2),
            tp_efficiency=pick(1.0, 0.8, 0.4),
            pp_hop_s=pick(0.0, 0.002),
            available=None if (count := maybe(0, 1, 3, 12, 64)) is None else int(count),
            compute_utilization=pick(1.0, 0.7),
        )
        for k in range(int(random.integers(1, 4)))
    )
    instance = Instance(
        f"fuzz-{seed}",
        pick(1 / 12, 1.0, 24.0),
        types,
        models,
        tiers,
        budget_usd=maybe(0.0, 1.0, 8.0, 90.0, 1500.0),
        storage_gb=maybe(0.0, 1.0, 18.0, 100.0),
        storage_usd_per_gb_h=pick(0.0, 1e-4, 1e-2),
        delay_slo="average" if random.random() < 0.3 else "per_route",
    )
    keys = instance.arrays.keys
    if keys and random.random() < 0.4:
        chosen = random.choice(len(keys), size=min(len(keys), 3), replace=False)
        instance = replace(instance, incumbent={keys[d]: int(random.integers(0, 4)) for d in chosen})
        if random.random() < 0.7:
            instance = replace(instance, switching=Switching(pick(0.0, 120.0, 2e4), pick(0.1, 2.0)))
    if keys and random.random() < 0.3:
        chosen = random.choice(len(keys), size=min(len(keys), 2), replace=False)
        profiles = (
            Profile(keys[d], pick(0.0, 1e-4), pick(0.0, 8e-3), pick(0.0, 2e-4), pick(0.0, 1e-3))
            for d in chosen
        )
        instance = replace(instance, profiles=tuple(profiles))
    return instance


def findings(seed: int, methods: tuple[str, ...] = tuple(METHODS)) -> list[str]:
    """Return what is wrong with the methods' answers for one seed; nothing where all is as it should be."""
    instance = random_instance(seed)
    found: list[str] = []
    if read_instance(write_instance(instance)) != instance:
        found.append("file: it is not read back as it was written")
    results: dict[str, Result] = {}
    for method in methods:
        try:
            results[method] = solve(
                instance, MaxIterations(_ITERATIONS.get(method, 1)), seed=seed, method=method
            )
        except Exception as problem:
            found.append(f"{method}: {type(problem).__name__}: {problem}")
            continue
        found += [f"{method}: {words}" for words in _wrong(instance, results[method])]
    if len({result.is_feasible for result in results.values()}) > 1:
        said = {method: result.status for method, result in results.items()}
        found.append(f"methods: they do not agree on whether there is a plan: {said}")
    found += _out_of_order(results)
    plans = [result for result in results.values() if result.plan is not None]
    best = min(plans, key=lambda result: result.objective_usd or 0.0, default=None)
    if best is not None and best.objective_usd is not None:
        again = solve(instance, MaxIterations(1), seed=seed, initial=best.plan)
        if again.objective_usd is None or again.objective_usd > best.objective_usd + _near(
            best.objective_usd
        ):
            found.append(
                f"initial: from {best.method}'s plan of {best.objective_usd!r} to {again.objective_usd!r}"
            )
    return found


def _near(usd: float) -> float:
    return _ROUNDING * max(1.0, abs(usd))


def _wrong(instance: Instance, result: Result) -> list[str]:
    if result.plan is None:
        return [] if result.conflict and all(result.conflict) else ["infeasible without a word why"]
    judged = evaluate(instance, result.plan)
    return [f"breaks {check}" for check in judged.violations]


def _out_of_order(results: dict[str, Result]) -> list[str]:
    costs = {
        method: result.objective_usd for method, result in results.items() if result.objective_usd is not None
    }
    wrong = []
    for method, result in results.items():
        for other, usd in costs.items():
            if result.lower_bound_usd is not None and usd < result.lower_bound_usd - _near(usd):
                wrong.append(
                    f"{method}: its bound of {result.lower_bound_usd!r} is above {other}'s plan of {usd!r}"
                )
    return wrong


@click.command()
@click.option("--count", default=300, show_default=True, help="Instances.")
@click.option(
    "--seed", "first", default=0, show_default=True, help="The first one's seed; the others follow."
)
@click.option("--method", "methods", multiple=True, help="Only these methods.")
@click.option(
    "--slow-s", default=5.0, show_default=True, help="Tell of instances that take longer, in CPU seconds."
)
def main(count: int, first: int, methods: tuple[str, ...], slow_s: float) -> None:
    """Solve random instances with every method; print what is wrong, and exit with 1 if anything is."""
    warnings.simplefilter("error")
    wrong: Counter[str] = Counter()
    began_s = time.process_time()
    for seed in range(first, first + count):
        start_s = time.process_time()
        for words in findings(seed, methods or tuple(METHODS)):
            wrong[words.partition(":")[0]] += 1
            click.echo(f"seed {seed}: {words}")
        took_s = time.process_time() - start_s
        if took_s > slow_s:
            click.echo(f"seed {seed}: took {took_s:.1f} s", err=True)
    summary = ", ".join(f"{who} {number}" for who, number in wrong.most_common()) or "nothing is wrong"
    click.echo(
        f"{count} instances from seed {first}, {time.process_time() - began_s:.0f} s of CPU: {summary}"
    )
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
