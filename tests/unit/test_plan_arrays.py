"""A plan is the same thing as names and as arrays; an instance survives being written down."""

import json
from pathlib import Path

import numpy as np
import pytest

from controller.domain.entities import DeploymentKey
from controller.domain.evaluate import evaluate
from controller.domain.instance_file import load_instance, read_instance, write_instance
from controller.domain.plan import Deployment, Plan, Route, load_plan, read_plan
from controller.errors import InstanceError

DATA = Path(__file__).parents[1] / "data"
NAMES = sorted(path.stem for path in (DATA / "plans").glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_arrays_and_back_is_the_same_plan(name: str) -> None:
    instance = load_instance(DATA / "instances" / f"{name}.json")
    plan = load_plan(DATA / "plans" / f"{name}.json")
    again = Plan.of_arrays(instance, *plan.arrays(instance))
    assert again.replicas == plan.replicas
    before, after = evaluate(instance, plan), evaluate(instance, again)
    assert after.cost.total_usd == pytest.approx(before.cost.total_usd, abs=1e-9)
    assert read_plan(json.loads(json.dumps(again.to_json()))) == again


@pytest.mark.parametrize("name", [path.stem for path in sorted((DATA / "instances").glob("*.json"))])
def test_an_instance_that_was_written_down_is_read_back_as_the_same(name: str) -> None:
    instance = load_instance(DATA / "instances" / f"{name}.json")
    again = read_instance(json.loads(json.dumps(write_instance(instance))))
    assert again == instance
    assert np.array_equal(again.arrays.delay_s, instance.arrays.delay_s)


def test_a_plan_of_strangers_is_refused_by_name() -> None:
    instance = load_instance(DATA / "instances" / "synth-4x4x4-s1.json")
    key = instance.arrays.keys[0]
    with pytest.raises(InstanceError, match=r"deployments\[0\]: matches no deployment"):
        Plan((Deployment(DeploymentKey("x", key.gpu_tier, 1, 1), 1, "x"),)).arrays(instance)
    with pytest.raises(InstanceError, match=r"routes\[0\]\.query_type: matches no query type"):
        Plan((Deployment(key, 1, "d"),), (Route("x", "d", 1.0),)).arrays(instance)
    with pytest.raises(InstanceError, match=r"routes\[0\]\.deployment: matches no deployment of the plan"):
        Plan((), (Route("type-00", "d", 1.0),)).arrays(instance)


def test_what_an_instance_lacks_falls_out_of_a_plan_with_its_routes() -> None:
    instance = load_instance(DATA / "instances" / "synth-4x4x4-s1.json")
    key = instance.arrays.keys[0]
    gone = DeploymentKey("gone", key.gpu_tier, 1, 1)
    plan = Plan(
        (Deployment(key, 1, "a"), Deployment(gone, 2, "b")),
        (Route("type-00", "a", 0.5), Route("type-00", "b", 0.5), Route("stranger", "a", 1.0)),
    )
    assert plan.within(instance) == Plan((Deployment(key, 1, "a"),), (Route("type-00", "a", 0.5),))
