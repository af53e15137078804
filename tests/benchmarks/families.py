"""Random instances of the same families as the shared ones, each named by what it is; same name, same instance.

``paper-s1001-x10-tight85`` has the paper's size (arXiv 2604.07472: six query types, six Llama-3.x models, ten GPU
tiers) and its ranges; ``synth-20x20x20-s1003-x3-a96`` has 20 types, models and tiers at random, with the same physics.
After the seed come any of these, in any order:

=============  =====================================================================================================
``xN``         demand, N times as much
``bN``         a budget of $N; ``tightN``: a budget of N % of what a good plan spends where money is no limit
``aN``         N GPUs of each tier
``avg``        delay objectives that hold for the mean of a type, not for each route
``storage``    a storage limit of 60 % of what a good plan without one stores
``unmet``      at most 2 % unmet of half of the types; ``infeasible``: a budget that cannot keep 10 % for any of them
``profiles``   measured figures for eight deployments
``switchN``    five minutes, a plan that runs (good for rates up to N % off in each type), and a price on starts
=============  =====================================================================================================

Tune on seeds 1000-1999. Test on seeds from 5000 on, and do not look at those before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from controller.domain.entities import FoundationModel, GpuTier, Profile, QueryType, Switching
from controller.domain.instance import Instance
from tests.benchmarks.free_plan import free_plan

_NAME = re.compile(r"(?:paper|synth-(?P<size>\d+x\d+x\d+))-s(?P<seed>\d+)(?P<rest>(?:-[a-z]+\d*)*)")
_SUFFIX = re.compile(r"(x|b|tight|a|avg|storage|unmet|infeasible|profiles|switch)(\d*)")
_HAS_NUMBER = {"x", "b", "tight", "a", "switch"}

_PAPER_TYPES = (
    # name, rate 1/s, input, output tokens, delay SLO s, error SLO, delay 1e-6 $/s, unmet 1e-3 $, token MB, 8B's error
    ("summarization", 3.5, 512, 256, 4.0, 0.05, 7.0, 3.8, 1.0, 0.025),
    ("code_generation", 6.8, 256, 512, 6.0, 0.04, 20.0, 9.8, 1.0, 0.0158),
    ("translation", 2.4, 128, 128, 1.5, 0.05, 7.0, 3.1, 1.0, 0.0156),
    ("math_solving", 1.7, 64, 256, 5.0, 0.05, 15.0, 9.2, 1.0, 0.038),
    ("image_generation", 0.56, 32, 1024, 15.0, 0.07, 30.0, 18.0, 5.0, 0.0445),
    ("video_generation", 0.28, 48, 2048, 25.0, 0.08, 50.0, 18.0, 10.0, 0.0565),
)
_PAPER_MODELS = (
    # name, 1e9 parameters, GB at FP16, KV GB per token, error relative to 8B's
    ("Llama-3.2-1B", 1.24, 2.5, 3.2e-5, 3.2),
    ("Llama-3.2-3B", 3.2, 6.4, 1.12e-4, 1.6),
    ("Llama-3.1-8B", 8.0, 16.0, 1.28e-4, 1.0),
    ("Llama-3.2-11B-Vision", 10.7, 21.3, 1.6e-4, 0.8421),
    ("Llama-3.x-31B", 31.0, 62.0, 2.5e-4, 0.6667),
    ("Llama-3.1-70B", 70.6, 141.0, 3.2e-4, 0.5333),
)
_GPUS = {
    # GB, GB/s, TFLOPS at FP16 (twice that below), $/h, TP efficiency, s per pipeline hop
    "A6000": (48.0, 768.0, 155.0, 0.65, 0.80, 4e-4),
    "RTX-4090": (24.0, 1008.0, 165.0, 0.35, 0.75, 6e-4),
    "A100-40GB": (40.0, 1555.0, 312.0, 1.2, 0.90, 1e-4),
    "H100-80GB": (80.0, 3350.0, 989.0, 2.5, 0.92, 8e-5),
}
_PRECISIONS = {"FP16": (1.0, 1.0), "INT8": (0.5, 1.15), "INT4": (0.25, 1.35)}
_PAPER_TIERS = (
    *(("A6000", precision) for precision in _PRECISIONS),
    *(("RTX-4090", precision) for precision in _PRECISIONS),
    *(("A100-40GB", precision) for precision in ("FP16", "INT8")),
    *(("H100-80GB", precision) for precision in ("FP16", "INT8")),
)
_INPUT_TOKENS = (32, 64, 128, 256, 512, 1024, 2048)
_OUTPUT_TOKENS = (64, 128, 256, 512, 1024, 2048)
_PAPER_MIX = (
    *("x1-b100", "x1-tight80", "x10", "x10-b300", "x10-tight85", "x10-unmet", "x10-profiles", "x10-switch10"),
    *("x30-avg", "x30-tight60", "x100", "x100-a64", "x100-switch30"),
)
_SYNTH_MIX = (
    *(
        "4x4x4",
        "6x6x10:x3",
        "6x6x6:x3-storage",
        "8x8x8",
        "10x10x10:x10",
        "10x10x10:x3-tight90",
        "12x12x12:x3",
    ),
    *("15x15x15", "20x20x20:x3-a96"),
)
_DAY_H, _FIVE_MINUTES_H = 24.0, 1 / 12


@lru_cache(maxsize=256)
def instance_of(name: str) -> Instance:
    """Return the instance of a name; see above.

    Raises
    ------
    ValueError : it is no such name.
    """
    match = _NAME.fullmatch(name)
    suffixes = [_SUFFIX.fullmatch(part) for part in (match["rest"].split("-")[1:] if match else ())]
    known = {found[1]: int(found[2] or 0) for found in suffixes if found}
    well_formed = all(found and bool(found[2]) == (found[1] in _HAS_NUMBER) for found in suffixes)
    if match is None or not well_formed or len(known) < len(suffixes):
        raise ValueError(f"no instance of these families is called {name!r}")
    random = np.random.default_rng([int(match["seed"]), *map(int, (match["size"] or "0").split("x"))])
    factor = known.pop("x", 1)
    if match["size"] is None:
        instance = _paper(random, factor)
    else:
        instance = _synth(random, factor, *map(int, match["size"].split("x")))
    instance = replace(instance, name=name)
    for kind in ("avg", "profiles", "a", "unmet", "switch", "storage", "tight", "b", "infeasible"):
        if kind in known:
            instance = _varied(instance, random, kind, known[kind])
    return instance


def mixed(first_seed: int, rounds: int = 1) -> Iterator[str]:
    """Yield names like those of the shared instances, each with a seed of its own: 22 a round."""
    seeds = itertools.count(first_seed)
    for _ in range(rounds):
        for suffix in _PAPER_MIX:
            yield f"paper-s{next(seeds)}-{suffix}"
        for item in _SYNTH_MIX:
            size, _, suffix = item.partition(":")
            yield f"synth-{size}-s{next(seeds)}" + (f"-{suffix}" if suffix else "")


def _around(random: np.random.Generator, value: float, spread: float, digits: int = 12) -> float:
    """Return ``value`` times something in ``1 ± spread``."""
    return round(float(value * random.uniform(1 - spread, 1 + spread)), digits)


def _tier(random: np.random.Generator, gpu: str, precision: str, name: str) -> GpuTier:
    memory_gb, bandwidth, tflops, price, efficiency, hop_s = _GPUS[gpu]
    scale, error_multiplier = _PRECISIONS[precision]
    return GpuTier(
        name,
        memory_gb,
        bandwidth,
        tflops * (1 if precision == "FP16" else 2),
        _around(random, price, 0.2, 4),
        (1, 2, 4, 8),
        (1, 2, 4),
        weight_scale=scale,
        error_multiplier=error_multiplier,
        tp_efficiency=efficiency,
        pp_hop_s=hop_s,
    )


def _paper(random: np.random.Generator, factor: int) -> Instance:
    types = tuple(
        QueryType(
            name,
            _around(random, rate * factor, 0.25, 6),
            tokens_in,
            tokens_out,
            slo_s,
            error,
            _around(random, delay * 1e-6, 0.2),
            _around(random, unmet * 1e-3, 0.2),
            token_mb * 1e-6,
        )
        for name, rate, tokens_in, tokens_out, slo_s, error, delay, unmet, token_mb, _ in _PAPER_TYPES
    )
    errors = {row[0]: _around(random, row[-1], 0.1) for row in _PAPER_TYPES}
    models = tuple(
        FoundationModel(
            name, params, weights, kv, {of: round(error * relative, 6) for of, error in errors.items()}
        )
        for name, params, weights, kv, relative in _PAPER_MODELS
    )
    tiers = tuple(_tier(random, gpu, precision, f"{gpu}-{precision}") for gpu, precision in _PAPER_TIERS)
    return Instance("paper", _DAY_H, types, models, tiers, storage_gb=1000.0, storage_usd_per_gb_h=1e-4)


def _synth(random: np.random.Generator, factor: int, types: int, models: int, tiers: int) -> Instance:
    """Draw sizes; the objectives are what the model of middle size does, give or take."""
    params_b = np.sort(np.exp(random.uniform(0.0, np.log(70.0), models))).round(3)
    middle_b = float(np.median(params_b))
    exactness = random.uniform(0.75, 1.08)
    base = random.uniform(0.044, 0.18, types)
    drawn = []
    for i in range(types):
        tokens_out = int(random.choice(_OUTPUT_TOKENS))
        middle_s = 2.0 * middle_b / (0.6 * 1555.0) * tokens_out  # decoding on one A100
        drawn.append(
            QueryType(
                f"type-{i:02d}",
                round(float(random.uniform(0.25, 7.0)) * factor, 6),
                int(random.choice(_INPUT_TOKENS)),
                tokens_out,
                round(float(np.clip(middle_s * random.uniform(0.35, 1.1), 1.5, 60.0)), 4),
                round(float(base[i] * middle_b**-0.43 * exactness), 6),
                float(random.uniform(5e-6, 5e-5)),
                round(float(random.uniform(0.004, 0.02)), 6),
                1e-6,
            )
        )
    fleet = tuple(
        FoundationModel(
            f"model-{j:02d}-{size:.1f}B",
            float(size),
            round(2.0 * float(size), 3),
            round(float(random.uniform(2.5e-5, 3.7e-5)) * float(size) ** 0.5, 9),
            {item.name: round(float(base[i] * size**-0.43), 6) for i, item in enumerate(drawn)},
        )
        for j, size in enumerate(params_b)
    )
    kinds = list(itertools.product(_GPUS, _PRECISIONS))
    chosen = [kinds[n] for n in random.integers(len(kinds), size=tiers)]
    racks = tuple(
        _tier(random, gpu, precision, f"{gpu}-{precision}-{k:02d}")
        for k, (gpu, precision) in enumerate(chosen)
    )
    return Instance("synth", _DAY_H, tuple(drawn), fleet, racks, storage_usd_per_gb_h=1e-4)


def _varied(instance: Instance, random: np.random.Generator, kind: str, number: int) -> Instance:
    types = instance.query_types
    match kind:
        case "avg":
            return replace(instance, delay_slo="average")
        case "a":
            tiers = tuple(replace(tier, available=number) for tier in instance.gpu_tiers)
            return replace(instance, gpu_tiers=tiers)
        case "b":
            return replace(instance, budget_usd=float(number))
        case "tight":
            spent_usd = free_plan(instance).spent_usd
            return replace(instance, budget_usd=round(spent_usd * number / 100, 2))
        case "storage":
            return replace(instance, storage_gb=round(free_plan(instance).stored_gb * 0.6, 2))
        case "unmet":
            half = len(types) // 2
            strict = tuple(replace(item, max_unmet=0.02) for item in types[:half]) + types[half:]
            return replace(instance, query_types=strict)
        case "infeasible":
            strict = tuple(replace(item, max_unmet=0.1) for item in types)
            return replace(instance, query_types=strict, budget_usd=5.0)
        case "profiles":
            return replace(instance, profiles=_profiles(instance, random))
        case "switch":
            return _switching(instance, random, number / 100)
    raise AssertionError(kind)


def _profiles(instance: Instance, random: np.random.Generator) -> tuple[Profile, ...]:
    keys = instance.arrays.keys
    chosen = random.choice(len(keys), size=min(8, len(keys)), replace=False)
    return tuple(
        Profile(
            keys[d],
            round(float(random.uniform(1.5e-5, 5.5e-5)), 8),
            round(float(random.uniform(3.5e-3, 1.2e-2)), 6),
            round(float(random.uniform(1.5e-5, 7e-5)), 8),
            round(float(random.uniform(3e-4, 1.5e-3)), 7),
        )
        for d in chosen
    )


def _switching(instance: Instance, random: np.random.Generator, spread: float) -> Instance:
    """Let what is good for these rates run, and move each rate by exactly ``spread``, up or down."""
    short = replace(instance, horizon_h=_FIVE_MINUTES_H)
    moved = tuple(
        replace(item, arrival_rate_per_s=round(item.arrival_rate_per_s * (1 + spread * sign), 6))
        for item, sign in zip(
            short.query_types, random.choice([-1.0, 1.0], len(short.query_types)), strict=True
        )
    )
    return replace(
        short, query_types=moved, switching=Switching(120.0, 2.0), incumbent=dict(free_plan(short).replicas)
    )
