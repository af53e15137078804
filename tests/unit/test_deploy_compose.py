"""docker-compose.yml and the image, as far as they can be read without running them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.settings import Settings
from schemas import Catalog

ROOT = Path(__file__).parents[2]
OURS = ("topics", "worker", "router", "replay")
COMMANDS = {
    "demo", "worker", "solve", "check", "simulate", "experiments", "topics", "plans", "router", "replay",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def test_the_stack_is_a_kafka_and_what_runs_on_it(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() == {"kafka", *OURS}
    assert re.fullmatch(r"apache/kafka:4\.\d+\.\d+", compose["services"]["kafka"]["image"])


def test_nothing_of_ours_runs_as_root_or_can_write_its_own_image(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["user"].split(":")[0] not in {"0", "root"}
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "hostname"} & compose["services"]["worker"].keys()


def test_everything_of_ours_waits_for_the_topics_and_the_topics_for_a_healthy_kafka(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert services["kafka"]["healthcheck"]["test"][0] == "CMD"
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    for name in ("worker", "router", "replay"):
        assert services[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_every_command_is_one_that_coxswain_has(compose: dict[str, Any]) -> None:
    assert {compose["services"][name]["command"][0] for name in OURS} <= COMMANDS


def test_only_loopback_of_the_host_is_bound(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_clients_are_told_a_listener_that_kafka_has(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]["environment"]
    told = compose["services"]["worker"]["environment"]["COXSWAIN_KAFKA__BOOTSTRAP_SERVERS"]
    assert f"BROKER://{told}" in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_every_named_volume_is_declared_and_every_folder_of_the_repository_is_there(
    compose: dict[str, Any],
) -> None:
    sources = {
        volume.rsplit(":", 2)[0] if volume.endswith(":ro") else volume.rsplit(":", 1)[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    named = {source for source in sources if re.fullmatch(r"[a-z-]+", source)}
    assert named == compose["volumes"].keys()
    assert "${COXSWAIN_CONFIG:-./deploy/config}" in sources
    assert (ROOT / "deploy" / "config").is_dir()


def test_the_workers_settings_and_its_catalog_are_accepted() -> None:
    folder = ROOT / "deploy" / "config"
    settings = Settings(**yaml.safe_load((folder / "worker.yaml").read_text()))
    assert settings.catalog is not None
    catalog = Catalog.model_validate(yaml.safe_load((folder / settings.catalog).read_text()))
    assert catalog.fleet == "main"


def test_the_image_takes_only_hashed_wheels_and_ends_without_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    assert any("--require-hashes" in line for line in lines)
    assert all("--no-index" in line for line in lines if "pip install" in line or "pip wheel" in line)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    assert sum(line.startswith("FROM ") for line in lines) == 2


def test_docker_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("the docker CLI with its compose plugin is not here")
    for profile in ([], ["--profile", "replay"]):
        subprocess.run(
            [docker, "compose", *profile, "config", "-q"], cwd=ROOT, check=True, capture_output=True
        )
