"""``coxswain solve``: what it prints, what it refuses, and with which exit code."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controller.commands.solve import solve_command
from controller.domain.evaluate import evaluate
from controller.domain.instance_file import load_instance
from controller.domain.plan import read_plan

INSTANCES = Path(__file__).parents[1] / "data" / "instances"
SMALL = INSTANCES / "synth-4x4x4-s1.json"
FIELDS = {"deployments", "routes", "objective_usd", "lower_bound_usd", "gap", "runtime_s", "status", "method"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(solve_command, [str(argument) for argument in arguments])


@pytest.mark.parametrize("method", ["agh", "gh", "milp"])
def test_the_json_has_the_fields_of_the_contract_and_is_a_plan(method: str) -> None:
    answer = run(SMALL, "--method", method, "--iterations", 1000 if method == "milp" else 2)
    assert (answer.exit_code, answer.stderr) == (0, "")
    printed = json.loads(answer.stdout)
    assert set(printed) == FIELDS
    assert printed["method"] == method
    judged = evaluate(load_instance(SMALL), read_plan(printed))
    assert judged.is_feasible
    assert printed["objective_usd"] == pytest.approx(judged.cost.total_usd)
    assert printed["status"] == ("feasible" if method == "gh" else "optimal")


def test_a_bound_that_nobody_computed_is_null() -> None:
    printed = json.loads(run(SMALL, "--method", "gh").stdout)
    assert (printed["lower_bound_usd"], printed["gap"]) == (None, None)


def test_the_same_seed_and_iterations_print_the_same_plan() -> None:
    first, second = (json.loads(run(SMALL, "--iterations", 12, "--seed", 3).stdout) for _ in range(2))
    assert first.pop("runtime_s") > 0
    second.pop("runtime_s")
    assert first == second


def test_no_plan_at_all_is_exit_code_1_with_what_clashes() -> None:
    answer = run(INSTANCES / "paper-s17-x10-infeasible.json", "--iterations", 1)
    assert answer.exit_code == 1
    printed = json.loads(answer.stdout)
    assert set(printed) == {*FIELDS, "conflict"}
    assert (printed["status"], printed["objective_usd"]) == ("infeasible", None)
    assert (printed["deployments"], printed["routes"]) == ([], [])
    assert answer.stderr.startswith("infeasible: ")
    assert answer.stderr.count("\n") == 1
    assert "budget_usd 5 cannot serve 0.9 of video_generation, as max_unmet asks" in answer.stderr
    assert "what would mend it: budget_usd of 10" in printed["conflict"][0]


def test_the_output_file_holds_what_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    answer = run(SMALL, "--method", "gh", "--output", path)
    assert json.loads(path.read_text()) == json.loads(answer.stdout)


def test_an_output_that_cannot_be_written_is_exit_code_2(tmp_path: Path) -> None:
    answer = run(SMALL, "--method", "gh", "--output", tmp_path / "no" / "plan.json")
    assert answer.exit_code == 2
    assert "--output: cannot be written" in answer.stderr


def test_a_printed_plan_is_an_incumbent_and_comes_back(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    first = json.loads(run(SMALL, "--method", "milp", "--iterations", 1000, "--output", plan).stdout)
    again = json.loads(run(SMALL, "--incumbent", plan, "--iterations", 2).stdout)
    assert (again["deployments"], again["routes"]) == (first["deployments"], first["routes"])


def test_replicas_of_a_bare_incumbent_list_need_no_start(tmp_path: Path) -> None:
    data = json.loads(SMALL.read_text())
    data["switching"] = {"start_s": 10_000_000, "load_gb_per_s": 1.0}
    instance = tmp_path / "instance.json"
    instance.write_text(json.dumps(data))
    cold = json.loads(run(instance, "--method", "milp", "--iterations", 1000).stdout)
    rows = json.loads(run(SMALL, "--method", "milp", "--iterations", 1000).stdout)["deployments"]
    incumbent = tmp_path / "incumbent.json"
    incumbent.write_text(
        json.dumps({"incumbent": [{k: v for k, v in row.items() if k != "id"} for row in rows]})
    )
    warm = json.loads(
        run(instance, "--method", "milp", "--iterations", 1000, "--incumbent", incumbent).stdout
    )
    assert warm["objective_usd"] < cold["objective_usd"]


Change = Callable[[dict[str, Any]], Any]
REFUSED: dict[str, tuple[Change, str]] = {
    "wrong format": (
        lambda data: data.update(format="other/1"),
        "format: must be 'allocation-instance/1', got 'other/1'",
    ),
    "missing field": (lambda data: data.pop("horizon_h"), "horizon_h: is missing"),
    "negative rate": (
        lambda data: data["query_types"][1].update(arrival_rate_per_s=-0.5),
        "query_types[1].arrival_rate_per_s: must be at least 0, got -0.5",
    ),
    "NaN": (lambda data: data.update(budget_usd=math.nan), "numbers must be finite, got 'NaN'"),
    "unknown query type in base_error": (
        lambda data: data["models"][0]["base_error"].update(poetry=0.1),
        "models[0].base_error: names a query type that does not exist, got 'poetry'",
    ),
    "profile that matches nothing": (
        lambda data: data.update(
            profiles=[
                {
                    "model": "nobody",
                    "gpu_tier": data["gpu_tiers"][0]["name"],
                    "tp": 1,
                    "pp": 1,
                    "prefill_s_per_token": 1,
                    "decode_s_per_token": 1,
                    "gpu_s_per_input_token": 1,
                    "gpu_s_per_output_token": 1,
                }
            ]
        ),
        "profiles[0].model: matches no model",
    ),
    "incumbent that matches nothing": (
        lambda data: data.update(
            incumbent=[{"model": "nobody", "gpu_tier": "none", "tp": 1, "pp": 1, "replicas": 1}]
        ),
        "incumbent[0].model: matches no model",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_instance_is_exit_code_2_and_one_clear_line(
    tmp_path: Path, change: Change, message: str
) -> None:
    data = copy.deepcopy(json.loads(SMALL.read_text()))
    change(data)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    answer = run(path)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1
    assert message in answer.stderr


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no such file"), ("{]", "not JSON"), ("[1]", "must be an object")]
)
def test_a_file_that_is_no_instance_is_exit_code_2(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    answer = run(path)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert message in answer.stderr


@pytest.mark.parametrize(
    ("incumbent", "message"),
    [
        ({"plans": []}, 'must have "deployments"'),
        (
            {"incumbent": [{"model": "x", "gpu_tier": "y", "tp": 1, "pp": 1, "replicas": 1}]},
            "matches no model",
        ),
        (
            {"deployments": [{"model": "x", "gpu_tier": "y", "tp": 1, "pp": 1, "replicas": 1}]},
            "matches no model",
        ),
        ({"deployments": [{"model": "x", "gpu_tier": "y", "tp": 1, "pp": 1}]}, "replicas: is missing"),
    ],
)
def test_an_incumbent_that_fits_no_deployment_is_exit_code_2(
    tmp_path: Path, incumbent: object, message: str
) -> None:
    path = tmp_path / "incumbent.json"
    path.write_text(json.dumps(incumbent))
    answer = run(SMALL, "--incumbent", path)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert message in answer.stderr


@pytest.mark.parametrize(
    "option", [("--method", "magic"), ("--time-limit", "-1"), ("--iterations", "-1"), ("--seed", "x")]
)
def test_bad_usage_is_exit_code_2(option: tuple[str, str]) -> None:
    assert run(SMALL, *option).exit_code == 2


def test_the_help_teaches_with_examples() -> None:
    text = run("--help").stdout
    assert "coxswain solve fleet.json --method milp" in text
    assert "Exit codes" in text
