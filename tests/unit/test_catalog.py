"""A catalog is read by the domain and described by a message; the two must agree on what is good."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from controller.demand.estimator import DemandEstimate
from controller.demand.window import DemandState
from controller.domain.catalog import read_catalog
from controller.domain.entities import DeploymentKey
from controller.errors import CatalogError
from controller.yaml_file import load_yaml
from schemas import Catalog as CatalogMessage

GOOD: dict[str, Any] = load_yaml(Path(__file__).parents[2] / "controller" / "demo" / "catalog.yaml")

Change = Callable[[dict[str, Any]], object]

BAD: dict[str, tuple[Change, str]] = {
    "another format": (lambda c: c.update(schema="catalog/9"), "schema"),
    "no fleet": (lambda c: c.pop("fleet"), "fleet"),
    "an unknown field": (lambda c: c.update(color="red"), "color"),
    "no tiers": (lambda c: c.update(gpu_tiers=[]), "gpu_tiers"),
    "a price of zero": (
        lambda c: c["gpu_tiers"][0].update(price_usd_per_h=0),
        "gpu_tiers[0].price_usd_per_h",
    ),
    "a price that is not a number": (
        lambda c: c["gpu_tiers"][0].update(price_usd_per_h=float("nan")),
        "gpu_tiers[0].price_usd_per_h",
    ),
    "a price in words": (
        lambda c: c["gpu_tiers"][0].update(price_usd_per_h="1"),
        "gpu_tiers[0].price_usd_per_h",
    ),
    "true for 1": (lambda c: c["gpu_tiers"][0].update(memory_gb=True), "gpu_tiers[0].memory_gb"),
    "half a GPU": (lambda c: c["gpu_tiers"][0].update(available=0.5), "gpu_tiers[0].available"),
    "a degree of 0": (lambda c: c["gpu_tiers"][0].update(tp_degrees=[0, 1]), "gpu_tiers[0].tp_degrees[0]"),
    "an error above 1": (
        lambda c: c["models"][0]["base_error"].update(summarization=1.5),
        "models[0].base_error.summarization",
    ),
    "an SLO of zero": (lambda c: c["query_types"][0].update(delay_slo_s=0), "query_types[0].delay_slo_s"),
    "a negative budget": (lambda c: c.update(budget_usd_per_h=-1), "budget_usd_per_h"),
    "shedding more than all": (lambda c: c["query_types"][0].update(max_unmet=2), "query_types[0].max_unmet"),
}
CONTRADICTORY: dict[str, tuple[Change, str]] = {
    "two models of one name": (lambda c: c["models"].append(c["models"][0]), "models"),
    "an error that lacks a type": (lambda c: c["models"][1]["base_error"].pop("translation"), "models[1].base_error"),
    "a profile that matches nothing": (
        lambda c: c.update(
            profiles=[
                {
                    "model": "Llama-9", "gpu_tier": "A6000-FP16", "tp": 1, "pp": 1, "prefill_s_per_token": 1.0,
                    "decode_s_per_token": 1.0, "gpu_s_per_input_token": 1.0, "gpu_s_per_output_token": 1.0,
                }
            ]
        ),
        "profiles[0].model",
    ),
}  # fmt: skip


def changed(change: Change) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    change(data)
    return data


def test_a_good_catalog_is_good_for_both() -> None:
    message = CatalogMessage.model_validate(GOOD)
    assert read_catalog(GOOD).type_names == tuple(query_type.name for query_type in message.query_types)


@pytest.mark.parametrize("name", BAD)
def test_what_the_message_refuses_the_domain_refuses_by_field(name: str) -> None:
    change, where = BAD[name]
    with pytest.raises(CatalogError) as caught:
        read_catalog(changed(change))
    assert caught.value.where == where
    with pytest.raises(ValidationError):
        CatalogMessage.model_validate(changed(change))


@pytest.mark.parametrize("name", CONTRADICTORY)
def test_fields_that_contradict_each_other_are_refused(name: str) -> None:
    change, where = CONTRADICTORY[name]
    with pytest.raises(CatalogError) as caught:
        read_catalog(changed(change))
    assert caught.value.where == where


def test_what_a_message_says_is_what_the_domain_reads() -> None:
    message = CatalogMessage.model_validate(GOOD)
    written = message.model_dump(mode="json", exclude_none=True)
    assert read_catalog(written).gpu_tiers == read_catalog(GOOD).gpu_tiers


def test_an_instance_takes_its_demand_from_the_stream_and_its_budget_by_the_hour() -> None:
    catalog = read_catalog(changed(lambda c: c.update(budget_usd_per_h=12.0)))
    seen = DemandEstimate("translation", DemandState.OBSERVED, 7.0, 1.0, 30.0, 20.0, 7.0)
    instance = catalog.instance({"translation": seen}, horizon_h=0.5)
    by_name = {query_type.name: query_type for query_type in instance.query_types}
    assert (by_name["translation"].arrival_rate_per_s, by_name["translation"].input_tokens) == (7.0, 30.0)
    assert by_name["summarization"].arrival_rate_per_s == 0.0
    assert instance.budget_usd == 6.0


def test_what_runs_but_is_no_longer_in_the_catalog_is_no_incumbent() -> None:
    running = {
        DeploymentKey("Llama-3.2-1B", "A6000-FP16", 1, 1): 2,
        DeploymentKey("gone", "A6000-FP16", 1, 1): 1,
    }
    instance = read_catalog(GOOD).instance({}, 1.0, running)
    assert dict(instance.incumbent) == {DeploymentKey("Llama-3.2-1B", "A6000-FP16", 1, 1): 2}


def test_the_digest_names_the_content() -> None:
    assert read_catalog(GOOD).digest == read_catalog(copy.deepcopy(GOOD)).digest
    assert read_catalog(GOOD).digest != read_catalog(changed(lambda c: c.update(fleet="other"))).digest
