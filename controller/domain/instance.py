"""An allocation instance: all that a solver sees, immutable, checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from controller.domain.arrays import InstanceArrays
from controller.domain.entities import (
    DeploymentKey,
    FoundationModel,
    GpuTier,
    Profile,
    QueryType,
    Switching,
)
from controller.errors import InstanceError

DelaySlo = Literal["per_route", "average"]


@dataclass(frozen=True)
class Instance:
    """One allocation problem (docs/mathematics.md, "Sets" and "Instance file").

    Parameters
    ----------
    horizon_h : ΔT, hours that the plan is priced for.
    budget_usd, storage_gb : δ and S; None for no limit.
    storage_usd_per_gb_h : p_s.
    delay_slo : whether Δ_i holds for each route or for the mean of a type.
    incumbent : r⁰, replicas that run now; without ``switching`` it costs nothing.

    Raises
    ------
    InstanceError : a name stands twice, a ``base_error`` lacks a type or names a stranger, or a profile or an
        incumbent matches no deployment.
    """

    name: str
    horizon_h: float
    query_types: tuple[QueryType, ...]
    models: tuple[FoundationModel, ...]
    gpu_tiers: tuple[GpuTier, ...]
    budget_usd: float | None = None
    storage_gb: float | None = None
    storage_usd_per_gb_h: float = 0.0
    delay_slo: DelaySlo = "per_route"
    profiles: tuple[Profile, ...] = ()
    switching: Switching | None = None
    incumbent: Mapping[DeploymentKey, int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        _refuse_repeats("query_types", (query_type.name for query_type in self.query_types))
        _refuse_repeats("models", (model.name for model in self.models))
        _refuse_repeats("gpu_tiers", (tier.name for tier in self.gpu_tiers))
        _refuse_repeats("profiles", (profile.key.id for profile in self.profiles))
        types = {query_type.name for query_type in self.query_types}
        for position, model in enumerate(self.models):
            where = f"models[{position}].base_error"
            for name in sorted(types - set(model.base_error)):
                raise InstanceError(where, f"lacks the query type of {model.name}", name)
            for name in sorted(set(model.base_error) - types):
                raise InstanceError(where, "names a query type that does not exist", name)
        for position, profile in enumerate(self.profiles):
            self._require_deployment(f"profiles[{position}]", profile.key)
        for position, key in enumerate(self.incumbent):
            self._require_deployment(f"incumbent[{position}]", key)

    def _require_deployment(self, where: str, key: DeploymentKey) -> None:
        """Refuse a row that matches no deployment, and say which part of it is the stranger."""
        model = next((model for model in self.models if model.name == key.model), None)
        if model is None:
            raise InstanceError(f"{where}.model", f"matches no model (row {key.id})", key.model)
        tier = next((tier for tier in self.gpu_tiers if tier.name == key.gpu_tier), None)
        if tier is None:
            raise InstanceError(f"{where}.gpu_tier", f"matches no GPU tier (row {key.id})", key.gpu_tier)
        if key.tp not in tier.tp_degrees:
            raise InstanceError(
                f"{where}.tp", f"is not among the tp_degrees of {tier.name} (row {key.id})", key.tp
            )
        if key.pp not in tier.pp_depths:
            raise InstanceError(
                f"{where}.pp", f"is not among the pp_depths of {tier.name} (row {key.id})", key.pp
            )
        if key not in self.arrays.position:
            rule = f"the weights of {model.name} do not fit on {key.gpus_per_replica} GPUs of {tier.name}"
            raise InstanceError(where, rule, key.id)

    @cached_property
    def arrays(self) -> InstanceArrays:
        """The derived quantities of docs/mathematics.md, as arrays; computed once."""
        return InstanceArrays.of(self)


def _refuse_repeats(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InstanceError(where, "no name may stand twice", name)
        seen.add(name)
