"""The world that is planned for: ``catalog/1``, from a YAML file at start and from ``llm.catalog.v1`` afterwards.

Field by field it is an allocation instance (docs/mathematics.md) without demand and horizon, which come from the
stream. Rules that tie fields to each other (a ``base_error`` for every query type, profiles that match a deployment)
are checked where the catalog is put to use.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Count, Message, Name, NonNegative, Positive, Share

Degree = Annotated[int, Field(ge=1, le=1024)]


class CatalogQueryType(Message):
    """A class of requests that share a token profile and service-level objectives."""

    name: Name
    delay_slo_s: Positive = Field(description="Δ_i")
    error_slo: Annotated[float, Field(gt=0.0, le=1.0)] = Field(description="ε_i")
    max_unmet: Share = Field(default=1.0, description="ζ_i")
    delay_penalty_usd_per_s: NonNegative = Field(default=0.0, description="ρ_i, per query and second")
    unmet_penalty_usd: NonNegative = Field(default=0.0, description="φ_i, per query")
    token_storage_gb: NonNegative = Field(default=0.0, description="θ_i, per token")
    prior_rate_per_s: NonNegative = Field(default=0.0, description="planned for until something is known")
    prior_input_tokens: NonNegative = Field(default=0.0, description="mean, until something is known")
    prior_output_tokens: NonNegative = Field(default=0.0, description="mean, until something is known")
    floor_rate_per_s: NonNegative = Field(default=0.0, description="the least that is planned for")
    retention_s: NonNegative | None = Field(
        default=None,
        description="proved idle for this long, nothing is planned for; null for the settings' own",
    )


class CatalogFoundationModel(Message):
    """A model that can serve."""

    name: Name
    params_b: Positive = Field(description="P_j, 1e9 parameters")
    weights_gb: Positive = Field(description="B_j, at FP16")
    kv_cache_gb_per_token: NonNegative = Field(default=0.0, description="β_j")
    base_error: dict[Name, Share] = Field(description="e_ij per query type")


class CatalogGpuTier(Message):
    """A GPU at one numeric precision."""

    name: Name
    memory_gb: Positive = Field(description="C_k")
    memory_bandwidth_gb_s: Positive = Field(description="W_k")
    compute_tflops: Positive = Field(description="F_k")
    price_usd_per_h: Positive = Field(description="p_k, per GPU")
    weight_scale: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="s_k: 1, 0.5, 0.25 for FP16, INT8, INT4"
    )
    error_multiplier: Annotated[float, Field(ge=1.0)] = Field(default=1.0, description="g_k")
    tp_efficiency: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1.0, description="η_k")
    pp_hop_s: NonNegative = Field(default=0.0, description="ℓ_k, per token and hop")
    tp_degrees: list[Degree] = Field(min_length=1)
    pp_depths: list[Degree] = Field(min_length=1)
    available: Count | None = Field(default=None, description="GPUs that exist; null for any number")
    prefill_mfu: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    decode_mfu: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    decode_mbu: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    compute_utilization: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class CatalogProfile(Message):
    """Measured figures of one deployment; they replace the derived ones."""

    model: Name
    gpu_tier: Name
    tp: Degree
    pp: Degree
    prefill_s_per_token: NonNegative
    decode_s_per_token: NonNegative
    gpu_s_per_input_token: NonNegative
    gpu_s_per_output_token: NonNegative


class CatalogSwitching(Message):
    """What it costs to start a replica: its GPUs are paid while it starts and loads its weights."""

    start_s: NonNegative = 0.0
    load_gb_per_s: Positive = Field(description="speed at which weights are loaded")


class Catalog(Message):
    """Everything an optimizer must know of the fleet, but the demand."""

    schema_name: Literal["catalog/1"] = Field(default="catalog/1", alias="schema")
    fleet: Name
    query_types: list[CatalogQueryType] = Field(min_length=1)
    models: list[CatalogFoundationModel] = Field(min_length=1)
    gpu_tiers: list[CatalogGpuTier] = Field(min_length=1)
    profiles: list[CatalogProfile] = Field(default=[])
    switching: CatalogSwitching | None = None
    budget_usd_per_h: NonNegative | None = Field(
        None, description="δ per hour, rental and storage; null for no limit"
    )
    storage_gb: NonNegative | None = Field(default=None, description="S; null for no limit")
    storage_usd_per_gb_h: NonNegative = Field(default=0.0, description="p_s")
    delay_slo: Literal["per_route", "average"] = "per_route"
