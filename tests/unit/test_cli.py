import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import main

ROOT = Path(__file__).parents[2]
INSTANCES = ROOT / "tests" / "data" / "instances"
COMMANDS = ["demo", "worker", "router", "replay", "plans", "topics", "solve", "check"]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_command_and_shows_a_way_in() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {command} " in out for command in COMMANDS)
    assert "coxswain demo" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 8


def test_an_unknown_command_is_bad_usage() -> None:
    code, _, err = run("sail")
    assert code == 2
    assert "sail" in err


def test_the_first_help_does_not_wait_for_faust() -> None:
    code = "\n".join(
        [
            "import sys",
            "from controller.cli import main",
            "main(['solve', '--help'], standalone_mode=False)",
            "assert 'faust' not in sys.modules",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


@pytest.mark.parametrize("entry", ["controller", "replay"])
def test_the_packages_run_as_programs(entry: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", entry, "--help"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Usage:" in done.stdout


def test_check_tells_what_a_good_file_is() -> None:
    code, out, _ = run("check", str(INSTANCES / "synth-4x4x4-s1.json"), "--json")
    assert code == 0
    assert json.loads(out)["query_types"] == 4
    code, out, _ = run("check", str(ROOT / "controller" / "demo" / "catalog.yaml"))
    assert code == 0
    assert "a valid catalog with 6 query types, 6 models, 10 gpu tiers" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: catalog/1\nfleet: x\n", "query_types: is missing"),
        ("horizon: {length_s: 0}\n", "horizon.length_s"),
        ("[1]\n", "must be a mapping"),
        ("{:\n", "not YAML"),
    ],
)
def test_check_tells_what_is_wrong_and_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    code, out, err = run("check", str(path))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_worker_without_a_catalog_is_bad_input() -> None:
    code, _, err = run("worker")
    assert code == 2
    assert "catalog: is missing" in err


def test_a_broker_out_of_reach_is_a_clear_failure(tmp_path: Path) -> None:
    settings = tmp_path / "worker.yaml"
    settings.write_text(f"catalog: {ROOT / 'controller' / 'demo' / 'catalog.yaml'}\n")
    code, _, err = run("worker", "--config", str(settings), "--bootstrap", "127.0.0.1:1")
    assert code == 1
    assert "error: looking for topics at 127.0.0.1:1" in err
    assert "Traceback" not in err


def test_the_stack_and_the_demo_plan_for_the_same_fleet() -> None:
    demo, stack = ROOT / "controller" / "demo" / "catalog.yaml", ROOT / "deploy" / "config" / "catalog.yaml"
    assert demo.read_text() == stack.read_text()
