"""The limits of an instance one by one: each by name, each to be lifted or set to another value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from controller.domain.instance import Instance

Kind = Literal["budget_usd", "storage_gb", "available", "max_unmet", "delay_slo_s", "error_slo"]

_FREE = {"max_unmet": 1.0, "delay_slo_s": 1e12, "error_slo": 1e6}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes
    ----------
    kind : the field that holds it: of the instance, of a GPU tier (``available``), or of a query type (the others).
    index : position of the tier or of the query type; -1 where it is the instance's own.
    """

    kind: Kind
    index: int = -1

    @property
    def of_type(self) -> bool:
        """Whether it is a query type's."""
        return self.kind in _FREE

    def value(self, instance: Instance) -> float:
        """Return what it is set to; inf where it is not."""
        holder: Any = instance
        if self.kind == "available":
            holder = instance.gpu_tiers[self.index]
        elif self.of_type:
            holder = instance.query_types[self.index]
        held = getattr(holder, self.kind)
        return math.inf if held is None else float(held)

    def lifted(self, instance: Instance) -> Instance:
        """Return the instance without it."""
        return self.changed(instance, _FREE.get(self.kind))

    def changed(self, instance: Instance, value: float | None) -> Instance:
        """Return the instance with another value; None for no limit."""
        if self.kind == "available":
            count = None if value is None else int(value)
            tiers = tuple(
                replace(tier, available=count) if k == self.index else tier
                for k, tier in enumerate(instance.gpu_tiers)
            )
            return replace(instance, gpu_tiers=tiers)
        change: dict[str, Any] = {self.kind: value}
        if not self.of_type:
            return replace(instance, **change)
        types = tuple(
            replace(item, **change) if i == self.index else item
            for i, item in enumerate(instance.query_types)
        )
        return replace(instance, query_types=types)

    def words(self, instance: Instance, value: float | None = None) -> str:
        """Return its name and value, or its name and another ``value``."""
        shown = self.value(instance) if value is None else value
        if self.kind == "available":
            return f"{instance.gpu_tiers[self.index].name}: {shown:g}"
        if self.of_type:
            return f"{self.kind} {shown:.6g} of {instance.query_types[self.index].name}"
        return f"{self.kind} {shown:.6g}"


def demanding(instance: Instance) -> Iterator[int]:
    """Yield the types that ask for anything: those with demand, and a ``max_unmet`` below 1."""
    for i, query_type in enumerate(instance.query_types):
        if query_type.max_unmet < 1 and query_type.arrival_rate_per_s > 0:
            yield i


def limits_of(instance: Instance) -> tuple[Limit, ...]:
    """Return every limit that can be part of a clash, those to blame first at the end.

    Types that ask for nothing have none: shedding them is free of every limit.
    """
    types = tuple(demanding(instance))
    found = [Limit("delay_slo_s", i) for i in types]
    found += [Limit("error_slo", i) for i in types]
    found += [Limit("max_unmet", i) for i in types]
    found += [
        Limit("available", k) for k, tier in enumerate(instance.gpu_tiers) if tier.available is not None
    ]
    found += [Limit("storage_gb")] if instance.storage_gb is not None else []
    found += [Limit("budget_usd")] if instance.budget_usd is not None else []
    return tuple(found)


def only_demanding(instance: Instance) -> Instance:
    """Return the instance in which nobody asks but those who must be served."""
    must = set(demanding(instance))
    types = tuple(
        item if i in must else replace(item, arrival_rate_per_s=0.0)
        for i, item in enumerate(instance.query_types)
    )
    return replace(instance, query_types=types)
