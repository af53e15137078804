"""A plan: deployments with replicas, and routes with shares. The same thing as names and as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.entities import DeploymentKey
from controller.domain.instance import Instance
from controller.domain.reading import Fields, load_json
from controller.errors import InstanceError

LEAST_SHARE = 1e-12
"""Smaller shares are rounding of a solver, and are not routes."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Replicas r_jkc of a deployment (j, k, n, m). ``id`` is what routes call it."""

    key: DeploymentKey
    replicas: int
    id: str

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.key.gpus_per_replica * self.replicas


@dataclass(frozen=True, slots=True)
class Route:
    """The share x_ijkc of a query type that one deployment gets."""

    query_type: str
    deployment: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs, and who goes where. Shares that no route takes are unmet."""

    deployments: tuple[Deployment, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def replicas(self) -> dict[DeploymentKey, int]:
        """Replicas by deployment."""
        return {deployment.key: deployment.replicas for deployment in self.deployments}

    @property
    def gpus(self) -> int:
        """GPUs in use."""
        return sum(deployment.gpus for deployment in self.deployments)

    def within(self, instance: Instance) -> Plan:
        """Return what is left of the plan in an instance that may lack some of its deployments or query types."""
        position = instance.arrays.position
        kept = tuple(deployment for deployment in self.deployments if deployment.key in position)
        ids = {deployment.id for deployment in kept}
        types = {query_type.name for query_type in instance.query_types}
        routes = (route for route in self.routes if route.deployment in ids and route.query_type in types)
        return Plan(kept, tuple(routes))

    def arrays(self, instance: Instance) -> tuple[Ints, Floats]:
        """Return ``(replicas (D,), shares (I, D))`` over the deployments of an instance.

        Raises
        ------
        InstanceError : the plan names a deployment or a query type that the instance does not have, or a route
            to a deployment that is not in the plan.
        """
        position = instance.arrays.position
        types = {query_type.name: i for i, query_type in enumerate(instance.query_types)}
        replicas = np.zeros(len(position), dtype=np.int64)
        shares = np.zeros((len(types), len(position)))
        column: dict[str, int] = {}
        for n, deployment in enumerate(self.deployments):
            if deployment.key not in position:
                rule = f"matches no deployment of {instance.name}"
                raise InstanceError(f"deployments[{n}]", rule, deployment.key.id)
            column[deployment.id] = position[deployment.key]
            replicas[position[deployment.key]] += deployment.replicas
        for n, route in enumerate(self.routes):
            if route.query_type not in types:
                raise InstanceError(f"routes[{n}].query_type", "matches no query type", route.query_type)
            if route.deployment not in column:
                rule = "matches no deployment of the plan"
                raise InstanceError(f"routes[{n}].deployment", rule, route.deployment)
            shares[types[route.query_type], column[route.deployment]] += route.fraction
        return replicas, shares

    @classmethod
    def of_arrays(cls, instance: Instance, replicas: Ints, shares: Floats) -> Plan:
        """Build a plan from ``replicas`` (D,) and ``shares`` (I, D); shares are clipped to [0, 1]."""
        keys = instance.arrays.keys
        running = np.flatnonzero(replicas)
        deployments = tuple(Deployment(keys[d], int(replicas[d]), keys[d].id) for d in running)
        routes = tuple(
            Route(query_type.name, keys[d].id, float(min(shares[i, d], 1.0)))
            for i, query_type in enumerate(instance.query_types)
            for d in running
            if shares[i, d] > LEAST_SHARE
        )
        return cls(deployments, routes)

    def to_json(self) -> dict[str, Any]:
        """Return the ``deployments`` and ``routes`` that ``coxswain solve`` prints."""
        return {
            "deployments": [
                {
                    "id": deployment.id,
                    "model": deployment.key.model,
                    "gpu_tier": deployment.key.gpu_tier,
                    "tp": deployment.key.tp,
                    "pp": deployment.key.pp,
                    "replicas": deployment.replicas,
                }
                for deployment in self.deployments
            ],
            "routes": [
                {"query_type": route.query_type, "deployment": route.deployment, "fraction": route.fraction}
                for route in self.routes
            ],
        }


def read_plan(data: Any) -> Plan:
    """Build a plan from parsed JSON: what ``coxswain solve`` prints, or a ``plan/1`` message.

    Fields beside ``deployments`` and ``routes`` are ignored.

    Raises
    ------
    InstanceError : a field is missing or out of range, or an id stands twice.
    """
    fields = Fields(data, "")
    deployments: dict[str, Deployment] = {}
    keys: set[DeploymentKey] = set()
    for item in fields.objects("deployments", required=False):
        key = DeploymentKey(
            item.text("model"),
            item.text("gpu_tier"),
            item.whole("tp", at_least=1),
            item.whole("pp", at_least=1),
        )
        name = item.text("id", key.id)
        if name in deployments or key in keys:
            raise InstanceError(item.path("id"), "no deployment may stand twice", name)
        keys.add(key)
        deployments[name] = Deployment(key, item.whole("replicas"), name)
    routes = []
    for item in fields.objects("routes", required=False):
        route = Route(item.text("query_type"), item.text("deployment"), item.number("fraction"))
        if route.deployment not in deployments:
            raise InstanceError(
                item.path("deployment"), "matches no deployment of the plan", route.deployment
            )
        routes.append(route)
    return Plan(tuple(deployments.values()), tuple(routes))


def load_plan(path: Path) -> Plan:
    """Read a plan from a JSON file; see :func:`read_plan`."""
    return read_plan(load_json(path))


def incumbent_of(plan: Plan) -> Mapping[DeploymentKey, int]:
    """Return r⁰ as a plan leaves it: its replicas, without those of zero."""
    return {key: replicas for key, replicas in plan.replicas.items() if replicas > 0}
