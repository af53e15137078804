"""The derived quantities of an instance, as NumPy arrays over its deployments (docs/mathematics.md, "Derived")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.domain.entities import DeploymentKey

if TYPE_CHECKING:
    from controller.domain.instance import Instance

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

DELAY_SLO_TOLERANCE = 1e-9
"""A route is fast enough when D <= Δ (1 + this)."""
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class InstanceArrays:
    """Arrays over query types I, deployments D (those whose weights fit), models J and tiers K.

    Order of deployments: by model, tier, TP degree, PP depth, as the instance lists them.

    Attributes
    ----------
    keys : the D deployments. ``position`` is its inverse.
    model, tier, pair : (D,) index of model, of tier, and of the (model, tier) pair.
    tp, pp, gpus : (D,) n, m, and n·m.
    queries_per_s, queries : (I,) λ_i, and N_i = 3600 λ_i ΔT.
    delay_s, error : (I, D) D_ijkc in s, E_ijk as a fraction.
    work_gpu_s : (I, D) A_ijkc, GPU-seconds per query.
    kv_gb : (I, D) V_ijkc, GB held if all of type i goes there.
    compute_load, memory_load : (I, D) replicas that all of type i would take up of constraint 4, of constraint 5.
    fast_enough : (I, D) whether the route may be used at all: True everywhere where the delay SLO is an average.
    mean_excess : (Q, I, D) what Σ mean_excess·x <= 0 must keep: E - ε, and where the delay SLO is an average also
        (D - Δ)/Δ; rounding is taken as zero.
    rent_usd, start_usd : (D,) of one replica over the horizon, of starting one.
    weights_gb, weights_storage_usd : (D,) stored weights B_j s_k, and their price over the horizon.
    token_storage_usd : (I,) price of storing the tokens of all of type i.
    delay_usd : (I, D) delay penalty if all of type i goes there.
    route_usd : (I, D) ``delay_usd + token_storage_usd``: the price of x_ijkc = 1 beside the replicas.
    unmet_usd : (I,) penalty of shedding all of type i.
    delay_slo_s, error_slo, max_unmet : (I,) Δ_i, ε_i, ζ_i.
    incumbent : (D,) r⁰.
    available : (K,) GPUs that exist; inf where any number can be had.
    replicas_cap : (D,) the most replicas that ``available`` allows; inf where any.
    """

    keys: tuple[DeploymentKey, ...]
    position: Mapping[DeploymentKey, int]
    model: Ints
    tier: Ints
    pair: Ints
    tp: Ints
    pp: Ints
    gpus: Ints
    queries_per_s: Floats
    queries: Floats
    delay_s: Floats
    error: Floats
    work_gpu_s: Floats
    kv_gb: Floats
    compute_load: Floats
    memory_load: Floats
    fast_enough: Bools
    mean_excess: Floats
    rent_usd: Floats
    start_usd: Floats
    weights_gb: Floats
    weights_storage_usd: Floats
    token_storage_usd: Floats
    delay_usd: Floats
    route_usd: Floats
    unmet_usd: Floats
    delay_slo_s: Floats
    error_slo: Floats
    max_unmet: Floats
    incumbent: Ints
    available: Floats
    replicas_cap: Floats

    @property
    def num_types(self) -> int:
        """I, the number of query types."""
        return len(self.queries_per_s)

    @property
    def num_deployments(self) -> int:
        """D, the number of deployments."""
        return len(self.keys)

    @classmethod
    def of(cls, instance: Instance) -> InstanceArrays:
        """Derive all arrays of an instance."""
        types, models, tiers = instance.query_types, instance.models, instance.gpu_tiers
        keys: list[DeploymentKey] = []
        model_of: list[int] = []
        tier_of: list[int] = []
        for j, model in enumerate(models):
            for k, tier in enumerate(tiers):
                per_gpu_gb = tier.memory_gb * tier.memory_utilization
                for tp in tier.tp_degrees:
                    for pp in tier.pp_depths:
                        if model.weights_gb * tier.weight_scale < tp * pp * per_gpu_gb:
                            keys.append(DeploymentKey(model.name, tier.name, tp, pp))
                            model_of.append(j)
                            tier_of.append(k)
        j_of, k_of = np.array(model_of, dtype=np.int64), np.array(tier_of, dtype=np.int64)
        n = np.array([key.tp for key in keys], dtype=np.int64)
        m = np.array([key.pp for key in keys], dtype=np.int64)
        gpus = n * m

        def of_tier(attribute: str) -> Floats:
            return np.array([getattr(tier, attribute) for tier in tiers], dtype=np.float64)[k_of]

        def of_model(attribute: str) -> Floats:
            return np.array([getattr(model, attribute) for model in models], dtype=np.float64)[j_of]

        def of_type(attribute: str) -> Floats:
            return np.array([getattr(query_type, attribute) for query_type in types], dtype=np.float64)

        rate, h, f = of_type("arrival_rate_per_s"), of_type("input_tokens"), of_type("output_tokens")
        stored_gb = of_model("weights_gb") * of_tier("weight_scale")
        flop_per_token = 2.0 * of_model("params_b") * 1e9
        flops = of_tier("compute_tflops") * 1e12
        scaling = of_tier("tp_efficiency") ** np.log2(n)  # q(n)
        n_eff = n * scaling
        a = flop_per_token / (of_tier("prefill_mfu") * flops)
        b = stored_gb / (of_tier("decode_mbu") * of_tier("memory_bandwidth_gb_s"))
        g = flop_per_token / (of_tier("decode_mfu") * flops)
        prefill_s, decode_s = a / n_eff, b / n_eff + (m - 1) * of_tier("pp_hop_s")
        input_work, output_work = a / scaling, g / scaling
        position = {key: d for d, key in enumerate(keys)}
        for profile in instance.profiles:
            d = position.get(profile.key)
            if d is not None:  # the instance itself refuses a profile that matches nothing
                prefill_s[d], decode_s[d] = profile.prefill_s_per_token, profile.decode_s_per_token
                input_work[d], output_work[d] = profile.gpu_s_per_input_token, profile.gpu_s_per_output_token

        delay_s = np.outer(h, prefill_s) + np.outer(f, decode_s)
        work_gpu_s = np.outer(h, input_work) + np.outer(f, output_work)
        base_error = np.array(
            [[model.base_error.get(query_type.name, np.nan) for model in models] for query_type in types]
        ).reshape(len(types), len(models))
        error = base_error.take(j_of, axis=1) * of_tier("error_multiplier")
        kv_gb = (rate * (h + f))[:, None] * delay_s * of_model("kv_cache_gb_per_token")
        free_gb = gpus * of_tier("memory_gb") * of_tier("memory_utilization") - stored_gb
        horizon_h = instance.horizon_h
        queries = 3600.0 * rate * horizon_h
        storage_price = instance.storage_usd_per_gb_h * horizon_h
        token_storage_usd = storage_price * of_type("token_storage_gb") * (h + f) * 3600.0 * rate
        delay_usd = (of_type("delay_penalty_usd_per_s") * queries)[:, None] * delay_s
        delay_slo_s = of_type("delay_slo_s")
        error_slo = of_type("error_slo")
        fast_enough = delay_s <= delay_slo_s[:, None] * (1.0 + DELAY_SLO_TOLERANCE)
        mean_excess = [error - error_slo[:, None]]
        if instance.delay_slo == "average":
            fast_enough = np.ones_like(fast_enough)
            mean_excess.append(delay_s / delay_slo_s[:, None] - 1.0)
        price = of_tier("price_usd_per_h")
        start_usd = np.zeros(len(keys))
        if instance.switching is not None:
            load_s = stored_gb / instance.switching.load_gb_per_s
            start_usd = price * gpus * (instance.switching.start_s + load_s) / 3600.0
        incumbent = np.zeros(len(keys), dtype=np.int64)
        for key, replicas in instance.incumbent.items():
            if key in position:
                incumbent[position[key]] = replicas
        available = np.array(
            [np.inf if tier.available is None else tier.available for tier in tiers], dtype=np.float64
        )
        return cls(
            keys=tuple(keys),
            position=position,
            model=j_of,
            tier=k_of,
            pair=j_of * len(tiers) + k_of,
            tp=n,
            pp=m,
            gpus=gpus,
            queries_per_s=rate,
            queries=queries,
            delay_s=delay_s,
            error=error,
            work_gpu_s=work_gpu_s,
            kv_gb=kv_gb,
            compute_load=rate[:, None] * work_gpu_s / (of_tier("compute_utilization") * gpus),
            memory_load=kv_gb / free_gb,
            fast_enough=fast_enough,
            mean_excess=_without_rounding(np.stack(mean_excess)),
            rent_usd=price * gpus * horizon_h,
            start_usd=start_usd,
            weights_gb=stored_gb,
            weights_storage_usd=storage_price * stored_gb,
            token_storage_usd=token_storage_usd,
            delay_usd=delay_usd,
            route_usd=delay_usd + token_storage_usd[:, None],
            unmet_usd=of_type("unmet_penalty_usd") * queries,
            delay_slo_s=delay_slo_s,
            error_slo=error_slo,
            max_unmet=of_type("max_unmet"),
            incumbent=incumbent,
            available=available,
            replicas_cap=np.floor(available[k_of] / gpus),
        )


def _without_rounding(excess: Floats) -> Floats:
    """Return what is no more than rounding as zero."""
    rounded: Floats = np.where(np.abs(excess) <= _ROUNDING, 0.0, excess)
    return rounded
