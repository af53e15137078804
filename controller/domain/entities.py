"""The things of the allocation problem: query types, models, GPU tiers, deployments.

Frozen, validated where they are read (:mod:`controller.domain.instance_file`), in the units of docs/mathematics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class QueryType:
    """A class i of requests that share a token profile and service-level objectives.

    ``arrival_rate_per_s`` is λ_i, ``input_tokens`` h_i, ``output_tokens`` f_i (means), ``delay_slo_s`` Δ_i,
    ``error_slo`` ε_i, ``max_unmet`` ζ_i, ``delay_penalty_usd_per_s`` ρ_i, ``unmet_penalty_usd`` φ_i,
    ``token_storage_gb`` θ_i.
    """

    name: str
    arrival_rate_per_s: float
    input_tokens: float
    output_tokens: float
    delay_slo_s: float
    error_slo: float
    delay_penalty_usd_per_s: float = 0.0
    unmet_penalty_usd: float = 0.0
    token_storage_gb: float = 0.0
    max_unmet: float = 1.0


@dataclass(frozen=True, slots=True)
class FoundationModel:
    """A model j: ``params_b`` P_j (1e9), ``weights_gb`` B_j at FP16, ``kv_cache_gb_per_token`` β_j, errors e_ij."""

    name: str
    params_b: float
    weights_gb: float
    kv_cache_gb_per_token: float
    base_error: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class GpuTier:
    """A tier k: a GPU at one numeric precision, its price, and the parallel configurations it may run in.

    ``available`` is the number of GPUs that exist; None where any number can be had.
    """

    name: str
    memory_gb: float
    memory_bandwidth_gb_s: float
    compute_tflops: float
    price_usd_per_h: float
    tp_degrees: tuple[int, ...]
    pp_depths: tuple[int, ...]
    weight_scale: float = 1.0
    error_multiplier: float = 1.0
    tp_efficiency: float = 1.0
    pp_hop_s: float = 0.0
    available: int | None = None
    prefill_mfu: float = 0.5
    decode_mfu: float = 0.1
    decode_mbu: float = 0.6
    memory_utilization: float = 0.9
    compute_utilization: float = 1.0


class DeploymentKey(NamedTuple):
    """What makes a deployment (j, k, n, m) itself, whatever its number of replicas."""

    model: str
    gpu_tier: str
    tp: int
    pp: int

    @property
    def id(self) -> str:
        """The stable identifier that plans and routers use."""
        return f"{self.model}/{self.gpu_tier}/tp{self.tp}-pp{self.pp}"

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one replica, n·m."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured figures of one deployment, which replace the derived ones."""

    key: DeploymentKey
    prefill_s_per_token: float
    decode_s_per_token: float
    gpu_s_per_input_token: float
    gpu_s_per_output_token: float


@dataclass(frozen=True, slots=True)
class Switching:
    """What starting a replica costs: its GPUs, paid for ``start_s`` and while its weights load."""

    start_s: float
    load_gb_per_s: float
