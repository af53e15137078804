"""Reading instances: each bad one is refused by field, rule and value."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.domain.entities import DeploymentKey
from controller.domain.instance_file import load_instance, read_instance
from controller.errors import InstanceError

Data = dict[str, Any]

GOOD: Data = {
    "format": "allocation-instance/1",
    "horizon_h": 24,
    "query_types": [
        {
            "name": "chat",
            "arrival_rate_per_s": 2.0,
            "input_tokens": 200,
            "output_tokens": 100,
            "delay_slo_s": 5.0,
            "error_slo": 0.1,
        }
    ],
    "models": [{"name": "small", "params_b": 7, "weights_gb": 14, "base_error": {"chat": 0.05}}],
    "gpu_tiers": [
        {
            "name": "A100",
            "memory_gb": 80,
            "memory_bandwidth_gb_s": 2000,
            "compute_tflops": 312,
            "price_usd_per_h": 2.0,
            "tp_degrees": [1, 2],
            "pp_depths": [1],
        }
    ],
}
ROW = {"model": "small", "gpu_tier": "A100", "tp": 1, "pp": 1}
PROFILE = {
    **ROW,
    "prefill_s_per_token": 1e-4,
    "decode_s_per_token": 0.01,
    "gpu_s_per_input_token": 1e-4,
    "gpu_s_per_output_token": 1e-3,
}


def set_at(*path: str | int, to: Any) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        at: Any = data
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return change


def drop(*path: str | int) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        at: Any = data
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]

    return change


def twice(name: str) -> Callable[[Data], None]:
    return lambda data: data[name].append(copy.deepcopy(data[name][0]))


BAD: dict[str, tuple[Callable[[Data], None], str, str, Any]] = {
    "wrong format": (
        set_at("format", to="allocation-instance/2"),
        "format",
        "must be",
        "allocation-instance/2",
    ),
    "no format": (drop("format"), "format", "is missing", None),
    "missing field": (
        drop("query_types", 0, "input_tokens"),
        "query_types[0].input_tokens",
        "is missing",
        None,
    ),
    "unknown field": (
        set_at("gpu_tiers", 0, "colour", to="red"),
        "gpu_tiers[0].colour",
        "unknown field",
        None,
    ),
    "negative rate": (
        set_at("query_types", 0, "arrival_rate_per_s", to=-1),
        "query_types[0].arrival_rate_per_s",
        "at least 0",
        -1,
    ),
    "rate as text": (
        set_at("query_types", 0, "arrival_rate_per_s", to="2"),
        "query_types[0].arrival_rate_per_s",
        "must be a number",
        "2",
    ),
    "rate as truth": (
        set_at("query_types", 0, "arrival_rate_per_s", to=True),
        "query_types[0].arrival_rate_per_s",
        "must be a number",
        True,
    ),
    "not a number": (
        set_at("query_types", 0, "input_tokens", to=math.nan),
        "query_types[0].input_tokens",
        "finite",
        None,
    ),
    "infinite": (set_at("budget_usd", to=math.inf), "budget_usd", "finite", math.inf),
    "no horizon": (set_at("horizon_h", to=0), "horizon_h", "above 0", 0),
    "share above one": (
        set_at("query_types", 0, "max_unmet", to=1.5),
        "query_types[0].max_unmet",
        "at most 1",
        1.5,
    ),
    "error SLO of zero": (
        set_at("query_types", 0, "error_slo", to=0),
        "query_types[0].error_slo",
        "above 0",
        0,
    ),
    "degree of zero": (
        set_at("gpu_tiers", 0, "tp_degrees", to=[0]),
        "gpu_tiers[0].tp_degrees[0]",
        "at least 1",
        0,
    ),
    "half a degree": (
        set_at("gpu_tiers", 0, "tp_degrees", to=[1.5]),
        "gpu_tiers[0].tp_degrees[0]",
        "whole",
        1.5,
    ),
    "no degrees": (set_at("gpu_tiers", 0, "pp_depths", to=[]), "gpu_tiers[0].pp_depths", "non-empty", []),
    "no models": (set_at("models", to=[]), "models", "non-empty", []),
    "unknown delay SLO": (set_at("delay_slo", to="median"), "delay_slo", "per_route, average", "median"),
    "error of a stranger": (
        set_at("models", 0, "base_error", "poetry", to=0.1),
        "models[0].base_error",
        "does not exist",
        "poetry",
    ),
    "error of a type missing": (
        set_at("models", 0, "base_error", to={}),
        "models[0].base_error",
        "lacks",
        "chat",
    ),
    "type named twice": (twice("query_types"), "query_types", "may stand twice", "chat"),
    "model named twice": (twice("models"), "models", "may stand twice", "small"),
    "tier named twice": (twice("gpu_tiers"), "gpu_tiers", "may stand twice", "A100"),
    "profile of no model": (
        set_at("profiles", to=[{**PROFILE, "model": "huge"}]),
        "profiles[0].model",
        "no model",
        "huge",
    ),
    "profile of no degree": (
        set_at("profiles", to=[{**PROFILE, "tp": 4}]),
        "profiles[0].tp",
        "tp_degrees",
        4,
    ),
    "incumbent on no tier": (
        set_at("incumbent", to=[{**ROW, "gpu_tier": "H100", "replicas": 1}]),
        "incumbent[0].gpu_tier",
        "no GPU tier",
        "H100",
    ),
    "incumbent twice": (
        set_at("incumbent", to=[{**ROW, "replicas": 1}, {**ROW, "replicas": 2}]),
        "incumbent[1].model",
        "may stand twice",
        "small/A100/tp1-pp1",
    ),
    "incumbent of half a replica": (
        set_at("incumbent", to=[{**ROW, "replicas": 0.5}]),
        "incumbent[0].replicas",
        "whole",
        0.5,
    ),
    "switching without a speed": (
        set_at("switching", to={"start_s": 60}),
        "switching.load_gb_per_s",
        "is missing",
        None,
    ),
}


@pytest.mark.parametrize(("change", "where", "rule", "value"), BAD.values(), ids=BAD.keys())
def test_a_bad_instance_is_refused_by_field_rule_and_value(
    change: Callable[[Data], None], where: str, rule: str, value: Any
) -> None:
    data = copy.deepcopy(GOOD)
    change(data)
    with pytest.raises(InstanceError) as caught:
        read_instance(data)
    assert caught.value.where == where
    assert rule in caught.value.rule
    assert value is None or caught.value.value == value
    assert str(caught.value).startswith(where)


def test_optional_fields_have_the_defaults_of_the_format() -> None:
    instance = read_instance(copy.deepcopy(GOOD))
    (chat,), (tier,) = instance.query_types, instance.gpu_tiers
    assert (chat.max_unmet, chat.unmet_penalty_usd, chat.delay_penalty_usd_per_s) == (1.0, 0.0, 0.0)
    assert (tier.tp_efficiency, tier.weight_scale, tier.error_multiplier, tier.available) == (
        1.0,
        1.0,
        1.0,
        None,
    )
    assert (tier.prefill_mfu, tier.decode_mfu, tier.decode_mbu, tier.memory_utilization) == (
        0.5,
        0.1,
        0.6,
        0.9,
    )
    assert (instance.budget_usd, instance.storage_gb, instance.delay_slo) == (None, None, "per_route")


def test_null_is_no_limit_and_zero_is_one() -> None:
    assert read_instance({**GOOD, "budget_usd": None}).budget_usd is None
    assert read_instance({**GOOD, "budget_usd": 0}).budget_usd == 0.0


def test_a_deployment_exists_only_where_its_weights_fit() -> None:
    data = copy.deepcopy(GOOD)
    data["models"][0]["weights_gb"] = 100  # 72 GB are usable on one GPU, 144 on two
    assert read_instance(data).arrays.keys == (DeploymentKey("small", "A100", 2, 1),)


def test_a_profile_of_a_deployment_whose_weights_do_not_fit_is_refused_with_the_reason() -> None:
    data = copy.deepcopy(GOOD)
    data["models"][0]["weights_gb"] = 100
    data["profiles"] = [PROFILE]
    with pytest.raises(InstanceError, match="weights of small do not fit on 1 GPUs of A100"):
        read_instance(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2: not JSON"),
        ('{"horizon_h": NaN}', "numbers must be finite, got 'NaN'"),
        ('{"name": "a", "name": "b"}', "no field may stand twice in one object, got 'name'"),
        ("[]", "must be an object"),
    ],
    ids=["cut off", "NaN", "a field twice", "a list"],
)
def test_what_is_no_instance_in_json_is_refused_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "instance.json"
    path.write_text(text)
    with pytest.raises(InstanceError) as caught:
        load_instance(path)
    assert message in str(caught.value)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match=r"nowhere\.json: no such file"):
        load_instance(tmp_path / "nowhere.json")


def test_an_instance_may_take_its_name_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(GOOD))
    assert load_instance(path).name == "fleet"
