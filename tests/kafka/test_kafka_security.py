"""TLS, mutual TLS and SASL, from the settings file to a real Kafka; no password is ever seen in what is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PASSWORD = "canary-Zq7-never-to-be-seen"  # noqa: S105 - a canary
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def certify(folder: Path, name: str, *, ca: str | None) -> None:
    """Make a key and a certificate for 127.0.0.1, as PEM; of its own where there is no ``ca``."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}")
    if ca is None:
        openssl("req", "-x509", *key, "-days", "2", "-out", f"{name}.pem")
        return
    openssl("req", "-new", *key, "-out", f"{name}.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    signing = (
        "-CA",
        f"{ca}.pem",
        "-CAkey",
        f"{ca}.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
    )
    openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    (folder / f"{name}.both").write_text(
        (folder / f"{name}.key").read_text() + (folder / f"{name}.pem").read_text()
    )


@dataclass
class Site:
    """A broker with three secured ways in, and everything that commands ever wrote about it."""

    broker: Any
    folder: Path
    written: list[str] = field(default_factory=list)

    def kafka(self, way: str) -> dict[str, Any]:
        """Return the ``kafka`` settings that let one in."""
        (self.folder / "password").write_text(f"{PASSWORD}\n")
        tls = {"security_protocol": "SSL", "ssl_ca_file": str(self.folder / "ca.pem")}
        login = {"sasl_username": "coxswain", "sasl_password_file": str(self.folder / "password")}
        sasl = tls | login | {"security_protocol": "SASL_SSL"}
        own = {name: str(self.folder / f"client.{end}") for name, end in CLIENT_FILES.items()}
        ways = {
            "tls": ("tls", tls),
            "mtls": ("mtls", tls | own),
            "plain": ("sasl", sasl | {"sasl_mechanism": "PLAIN"}),
            "scram-256": ("sasl", sasl | {"sasl_mechanism": "SCRAM-SHA-256"}),
            "scram-512": ("sasl", sasl | {"sasl_mechanism": "SCRAM-SHA-512"}),
        }
        listener, settings = ways[way]
        return {"bootstrap_servers": self.broker.address(listener), **settings}

    def run(
        self, kafka: dict[str, Any], *command: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Coxswain's with these settings."""
        settings = self.folder / "settings.yaml"
        settings.write_text(yaml.safe_dump({"app_id": "test", "kafka": kafka}))
        done = subprocess.run(
            [sys.executable, "-m", "controller", *command, "--config", str(settings)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **environment},
        )
        self.written += [done.stdout, done.stderr]
        return done


CLIENT_FILES = {"ssl_cert_file": "pem", "ssl_key_file": "key"}


@pytest.fixture(scope="module")
def site(kraft: ModuleType, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("secured")
    for name in ("ca", "stranger"):
        certify(folder, name, ca=None)
    for name in ("server", "client"):
        certify(folder, name, ca="ca")
    stores = {
        f"ssl.{store}.{option}": value
        for store, path in (("keystore", folder / "server.both"), ("truststore", folder / "ca.pem"))
        for option, value in (("type", "PEM"), ("location", str(path)))
    }
    mechanisms = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "plain.sasl.jaas.config": f'{PLAIN} required user_coxswain="{PASSWORD}";',
        "scram-sha-256.sasl.jaas.config": f"{SCRAM} required;",
        "scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
    }
    users = [f"{name}=[name=coxswain,password={PASSWORD}]" for name in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    (folder / "node").mkdir()
    with kraft.KraftBroker(
        kafka_jars,
        folder / "node",
        listeners=[
            kraft.Listener("tls", "SSL", stores),
            kraft.Listener("mtls", "SSL", stores | {"ssl.client.auth": "required"}),
            kraft.Listener("sasl", "SASL_SSL", stores | mechanisms),
        ],
        format_arguments=[part for user in users for part in ("--add-scram", user)],
    ) as broker:
        made = Site(broker, folder)
        done = made.run(
            made.kafka("tls"), "topics", "create", "--partitions", "2", "--replication-factor", "1"
        )
        assert done.returncode == 0, done.stderr
        yield made
        assert PASSWORD not in "\n".join(made.written)


@pytest.mark.parametrize("way", ["tls", "mtls", "plain", "scram-256", "scram-512"])
def test_each_way_in_lets_a_command_in(site: Site, way: str) -> None:
    done = site.run(site.kafka(way), "topics", "describe", "--json", "--partitions", "2")
    assert done.returncode == 0, done.stderr
    assert "llm.plans.v1" in done.stdout


def test_a_password_may_come_by_the_environment(site: Site) -> None:
    kafka = site.kafka("scram-512")
    del kafka["sasl_password_file"]
    done = site.run(kafka, "topics", "describe", "--partitions", "2", COXSWAIN_KAFKA__SASL_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("scram-512", {"sasl_username": "nobody"}),
        ("plain", {"sasl_username": "nobody"}),
        ("tls", {"ssl_ca_file": "stranger.pem"}),
        ("mtls", dict.fromkeys(CLIENT_FILES)),
        ("scram-256", {"security_protocol": "PLAINTEXT", "sasl_mechanism": None, "sasl_username": None}),
    ],
)
def test_who_may_not_in_is_told_so_and_ends(site: Site, way: str, change: dict[str, Any]) -> None:
    kafka = site.kafka(way) | change
    if kafka["security_protocol"] == "PLAINTEXT":
        kafka = {name: kafka[name] for name in ("bootstrap_servers", "security_protocol")}
    done = site.run(kafka, "topics", "describe", "--partitions", "2", "--json")
    assert done.returncode == 1, done.stderr
    assert "error: describing topics at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("way", ["mtls", "scram-512"])
async def test_a_worker_counts_plans_and_is_heard_over_secured_connections(
    site: Site, harness: ModuleType, tmp_path: Path, way: str
) -> None:
    world = harness.World(
        site.broker.bootstrap_servers, tmp_path, 2, kafka=site.kafka(way), log_level="DEBUG"
    )
    async with world.open():
        worker = await world.start_planner()
        traffic = harness.Traffic(2)
        plans = len(world.feed.plans)
        while len(world.feed.plans) == plans:
            await world.play(traffic, 100)
            await world.all_but(300)
        assert await worker.terminate() == 0
    assert worker.events("partitions_ready")
    site.written.append((tmp_path / "worker-0.log").read_text())
    shown = site.run(site.kafka(way), "plans", "--last", "1", "--json")
    assert json.loads(shown.stdout.splitlines()[-1])["fleet"] == "main"
    replayed = site.run(site.kafka(way), "replay", "generated", "--limit", "5", "--speed", "max", "--json")
    assert replayed.returncode == 0, replayed.stderr
