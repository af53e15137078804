"""Reads ``allocation-instance/1`` (docs/mathematics.md, "Instance file"); refuses bad ones by field, value, rule."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from controller.domain.entities import (
    DeploymentKey,
    FoundationModel,
    GpuTier,
    Profile,
    QueryType,
    Switching,
)
from controller.domain.instance import DelaySlo, Instance
from controller.domain.reading import Fields, load_json
from controller.errors import InstanceError

FORMAT = "allocation-instance/1"


def load_instance(path: Path) -> Instance:
    """Read an instance from a JSON file.

    Raises
    ------
    InstanceError : no such file, not JSON, or a field breaks its rule.
    """
    return read_instance(load_json(path), default_name=path.stem)


def read_instance(data: Any, default_name: str = "instance") -> Instance:
    """Build an instance from parsed JSON.

    Raises
    ------
    InstanceError : a field is missing, unknown or out of range, or fields contradict each other.
    """
    fields = Fields(data, "")
    written = fields.take("format")
    if written != FORMAT:
        raise InstanceError("format", f"must be {FORMAT!r}", written)
    instance = Instance(
        name=fields.text("name", default_name),
        horizon_h=fields.number("horizon_h", above=0.0),
        budget_usd=fields.limit("budget_usd"),
        storage_gb=fields.limit("storage_gb"),
        storage_usd_per_gb_h=fields.number("storage_usd_per_gb_h", 0.0, at_least=0.0),
        delay_slo=cast(DelaySlo, fields.choice("delay_slo", ("per_route", "average"), "per_route")),
        query_types=tuple(_query_type(item) for item in fields.objects("query_types")),
        models=tuple(read_model(item) for item in fields.objects("models")),
        gpu_tiers=tuple(read_gpu_tier(item) for item in fields.objects("gpu_tiers")),
        profiles=tuple(read_profile(item) for item in fields.objects("profiles", required=False)),
        switching=(
            None if fields.take("switching", None) is None else read_switching(fields.object("switching"))
        ),
        incumbent=read_incumbent(fields),
    )
    fields.done()
    return instance


def _query_type(fields: Fields) -> QueryType:
    return read_query_type(
        fields,
        arrival_rate_per_s=fields.number("arrival_rate_per_s", at_least=0.0),
        input_tokens=fields.number("input_tokens", at_least=0.0),
        output_tokens=fields.number("output_tokens", at_least=0.0),
    )


def read_query_type(
    fields: Fields, *, arrival_rate_per_s: float, input_tokens: float, output_tokens: float
) -> QueryType:
    """Read what an instance and a catalog say alike of a query type; its demand was read before."""
    query_type = QueryType(
        name=fields.text("name"),
        arrival_rate_per_s=arrival_rate_per_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        delay_slo_s=fields.number("delay_slo_s", above=0.0),
        error_slo=fields.number("error_slo", above=0.0, at_most=1.0),
        delay_penalty_usd_per_s=fields.number("delay_penalty_usd_per_s", 0.0, at_least=0.0),
        unmet_penalty_usd=fields.number("unmet_penalty_usd", 0.0, at_least=0.0),
        token_storage_gb=fields.number("token_storage_gb", 0.0, at_least=0.0),
        max_unmet=fields.number("max_unmet", 1.0, at_least=0.0, at_most=1.0),
    )
    fields.done()
    return query_type


def read_model(fields: Fields) -> FoundationModel:
    """Read one entry of ``models``."""
    errors = fields.object("base_error")
    model = FoundationModel(
        name=fields.text("name"),
        params_b=fields.number("params_b", above=0.0),
        weights_gb=fields.number("weights_gb", above=0.0),
        kv_cache_gb_per_token=fields.number("kv_cache_gb_per_token", 0.0, at_least=0.0),
        base_error={name: errors.number(name, at_least=0.0, at_most=1.0) for name in errors.names()},
    )
    fields.done()
    return model


def read_gpu_tier(fields: Fields) -> GpuTier:
    """Read one entry of ``gpu_tiers``."""
    available = fields.take("available", None)
    tier = GpuTier(
        name=fields.text("name"),
        memory_gb=fields.number("memory_gb", above=0.0),
        memory_bandwidth_gb_s=fields.number("memory_bandwidth_gb_s", above=0.0),
        compute_tflops=fields.number("compute_tflops", above=0.0),
        price_usd_per_h=fields.number("price_usd_per_h", above=0.0),
        tp_degrees=fields.whole_list("tp_degrees"),
        pp_depths=fields.whole_list("pp_depths"),
        weight_scale=fields.number("weight_scale", 1.0, above=0.0, at_most=1.0),
        error_multiplier=fields.number("error_multiplier", 1.0, at_least=1.0),
        tp_efficiency=fields.number("tp_efficiency", 1.0, above=0.0, at_most=1.0),
        pp_hop_s=fields.number("pp_hop_s", 0.0, at_least=0.0),
        available=None if available is None else fields.whole("available"),
        prefill_mfu=fields.number("prefill_mfu", 0.5, above=0.0, at_most=1.0),
        decode_mfu=fields.number("decode_mfu", 0.1, above=0.0, at_most=1.0),
        decode_mbu=fields.number("decode_mbu", 0.6, above=0.0, at_most=1.0),
        memory_utilization=fields.number("memory_utilization", 0.9, above=0.0, at_most=1.0),
        compute_utilization=fields.number("compute_utilization", 1.0, above=0.0, at_most=1.0),
    )
    fields.done()
    return tier


def _key(fields: Fields) -> DeploymentKey:
    return DeploymentKey(
        model=fields.text("model"),
        gpu_tier=fields.text("gpu_tier"),
        tp=fields.whole("tp", at_least=1),
        pp=fields.whole("pp", at_least=1),
    )


def read_profile(fields: Fields) -> Profile:
    """Read one entry of ``profiles``."""
    profile = Profile(
        key=_key(fields),
        prefill_s_per_token=fields.number("prefill_s_per_token", at_least=0.0),
        decode_s_per_token=fields.number("decode_s_per_token", at_least=0.0),
        gpu_s_per_input_token=fields.number("gpu_s_per_input_token", at_least=0.0),
        gpu_s_per_output_token=fields.number("gpu_s_per_output_token", at_least=0.0),
    )
    fields.done()
    return profile


def read_switching(fields: Fields) -> Switching:
    """Read the ``switching`` object."""
    switching = Switching(
        start_s=fields.number("start_s", at_least=0.0),
        load_gb_per_s=fields.number("load_gb_per_s", above=0.0),
    )
    fields.done()
    return switching


def read_incumbent(fields: Fields, name: str = "incumbent") -> dict[DeploymentKey, int]:
    """Read a list of running replicas; rows of the same deployment are refused."""
    incumbent: dict[DeploymentKey, int] = {}
    for item in fields.objects(name, required=False):
        key = _key(item)
        if key in incumbent:
            raise InstanceError(item.path("model"), "no deployment may stand twice", key.id)
        incumbent[key] = item.whole("replicas", at_least=0)
        item.done()
    return incumbent


def write_instance(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain data that :func:`read_instance` reads back as the same."""
    return {
        "format": FORMAT,
        "name": instance.name,
        "horizon_h": instance.horizon_h,
        "budget_usd": instance.budget_usd,
        "storage_gb": instance.storage_gb,
        "storage_usd_per_gb_h": instance.storage_usd_per_gb_h,
        "delay_slo": instance.delay_slo,
        "query_types": [asdict(query_type) for query_type in instance.query_types],
        "models": [asdict(model) for model in instance.models],
        "gpu_tiers": [asdict(tier) for tier in instance.gpu_tiers],
        "profiles": [
            {**profile.key._asdict(), **{k: v for k, v in asdict(profile).items() if k != "key"}}
            for profile in instance.profiles
        ],
        "switching": None if instance.switching is None else asdict(instance.switching),
        "incumbent": [
            {**key._asdict(), "replicas": replicas} for key, replicas in instance.incumbent.items()
        ],
    }
