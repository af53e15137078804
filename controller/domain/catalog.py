"""The fleet that is planned for: an instance without its demand, which comes from the stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, cast

from controller.domain.entities import (
    DeploymentKey,
    FoundationModel,
    GpuTier,
    Profile,
    QueryType,
    Switching,
)
from controller.domain.instance import DelaySlo, Instance
from controller.domain.instance_file import (
    read_gpu_tier,
    read_model,
    read_profile,
    read_query_type,
    read_switching,
)
from controller.domain.reading import Fields
from controller.errors import CatalogError, InstanceError

FORMAT = "catalog/1"


class Demand(Protocol):
    """What a catalog must be told of a query type to make an instance: λ_i, h_i, f_i."""

    @property
    def rate_per_s(self) -> float:
        """Arrivals per second."""
        ...

    @property
    def input_tokens(self) -> float:
        """Mean prompt tokens."""
        ...

    @property
    def output_tokens(self) -> float:
        """Mean generated tokens."""
        ...


@dataclass(frozen=True)
class Catalog:
    """Models, GPU tiers, query types and limits of one fleet.

    The query types carry their priors as demand: what is planned for until something is known. ``digest`` names the
    catalog's content; plans carry it. ``floors_per_s`` is the least rate that is planned for, ``retentions_s`` how long
    a type must be proved idle before nothing is; a type that they lack has no floor, and the settings' retention.
    """

    fleet: str
    query_types: tuple[QueryType, ...]
    models: tuple[FoundationModel, ...]
    gpu_tiers: tuple[GpuTier, ...]
    profiles: tuple[Profile, ...]
    switching: Switching | None
    budget_usd_per_h: float | None
    storage_gb: float | None
    storage_usd_per_gb_h: float
    delay_slo: DelaySlo
    digest: str
    floors_per_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    retentions_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def type_names(self) -> tuple[str, ...]:
        """Names of the query types, in the catalog's order."""
        return tuple(query_type.name for query_type in self.query_types)

    def instance(
        self,
        demand: Mapping[str, Demand],
        horizon_h: float,
        incumbent: Mapping[DeploymentKey, int] = MappingProxyType({}),
        gpus_available: Mapping[str, int] = MappingProxyType({}),
    ) -> Instance:
        """Make the instance of one horizon.

        Parameters
        ----------
        demand : by query type; a type that it lacks keeps its prior.
        horizon_h : ΔT.
        incumbent : r⁰. What the catalog no longer has is left out: it can only be stopped.
        gpus_available : by tier, in place of the catalog's own; a tier that it lacks keeps that.
        """
        instance = Instance(
            name=f"{self.fleet}-{self.digest}",
            horizon_h=horizon_h,
            query_types=tuple(_with_demand(query_type, demand) for query_type in self.query_types),
            models=self.models,
            gpu_tiers=tuple(
                replace(tier, available=gpus_available[tier.name]) if tier.name in gpus_available else tier
                for tier in self.gpu_tiers
            ),
            budget_usd=None if self.budget_usd_per_h is None else self.budget_usd_per_h * horizon_h,
            storage_gb=self.storage_gb,
            storage_usd_per_gb_h=self.storage_usd_per_gb_h,
            delay_slo=self.delay_slo,
            profiles=self.profiles,
            switching=self.switching,
        )
        known = {
            key: count for key, count in incumbent.items() if key in instance.arrays.position and count > 0
        }
        return replace(instance, incumbent=MappingProxyType(known)) if known else instance


def _with_demand(query_type: QueryType, demand: Mapping[str, Demand]) -> QueryType:
    found = demand.get(query_type.name)
    if found is None:
        return query_type
    return replace(
        query_type,
        arrival_rate_per_s=found.rate_per_s,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
    )


def read_catalog(data: Any) -> Catalog:
    """Build a catalog from parsed YAML or JSON, and check it as a whole.

    Raises
    ------
    CatalogError : a field is missing, unknown or out of range, or fields contradict each other.
    """
    try:
        fields = Fields(data, "", CatalogError)
        written = fields.take("schema")
        if written != FORMAT:
            raise CatalogError("schema", f"must be {FORMAT!r}", written)
        floors_per_s: dict[str, float] = {}
        retentions_s: dict[str, float] = {}
        catalog = Catalog(
            fleet=fields.text("fleet"),
            query_types=tuple(
                _query_type(item, floors_per_s, retentions_s) for item in fields.objects("query_types")
            ),
            floors_per_s=floors_per_s,
            retentions_s=retentions_s,
            models=tuple(read_model(item) for item in fields.objects("models")),
            gpu_tiers=tuple(read_gpu_tier(item) for item in fields.objects("gpu_tiers")),
            profiles=tuple(read_profile(item) for item in fields.objects("profiles", required=False)),
            switching=(
                None if fields.take("switching", None) is None else read_switching(fields.object("switching"))
            ),
            budget_usd_per_h=fields.limit("budget_usd_per_h"),
            storage_gb=fields.limit("storage_gb"),
            storage_usd_per_gb_h=fields.number("storage_usd_per_gb_h", 0.0, at_least=0.0),
            delay_slo=cast(DelaySlo, fields.choice("delay_slo", ("per_route", "average"), "per_route")),
            digest=hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12],
        )
        fields.done()
        catalog.instance({}, horizon_h=1.0)  # what ties fields to each other is the instance's to check
    except InstanceError as error:
        raise CatalogError(error.where, error.rule, error.value) from None
    return catalog


def _query_type(fields: Fields, floors_per_s: dict[str, float], retentions_s: dict[str, float]) -> QueryType:
    floor_per_s = fields.number("floor_rate_per_s", 0.0, at_least=0.0)
    retention_s = fields.limit("retention_s")
    query_type = read_query_type(
        fields,
        arrival_rate_per_s=fields.number("prior_rate_per_s", 0.0, at_least=0.0),
        input_tokens=fields.number("prior_input_tokens", 0.0, at_least=0.0),
        output_tokens=fields.number("prior_output_tokens", 0.0, at_least=0.0),
    )
    if floor_per_s > 0:
        floors_per_s[query_type.name] = floor_per_s
    if retention_s is not None:
        retentions_s[query_type.name] = retention_s
    return query_type
