from pathlib import Path
from typing import get_args

import pytest

from controller.errors import SettingsError
from controller.kafka import KafkaConnection
from controller.optimizer.solve import METHODS
from controller.settings import KafkaSettings, SolverSettings, load_settings

CANARY = "canary-Zq7-never-to-be-seen"


def written(folder: Path, text: str) -> Path:
    path = folder / "coxswain.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings(None)
    assert (settings.horizon.length_s, settings.horizon.bucket_s, settings.clock) == (300.0, 10.0, "wall")


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "horizon: {length_s: 60, bucket_s: 5}\napp_id: fleet-a\n")
    monkeypatch.setenv("COXSWAIN_HORIZON__LENGTH_S", "120")
    settings = load_settings(path)
    assert (settings.horizon.length_s, settings.horizon.bucket_s, settings.app_id) == (120.0, 5.0, "fleet-a")


def test_a_catalog_is_looked_for_beside_the_settings(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "catalog: fleet.yaml")).catalog == tmp_path / "fleet.yaml"


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("horizont: {}", "horizont", "not permitted"),
        ("horizon: {length_s: -1}", "horizon.length_s", "greater than 0"),
        ("horizon: {length_s: 65, bucket_s: 10}", "horizon", "must be a multiple of bucket_s (10)"),
        ("solver: {time_limit_s: 20, deadline_s: 10}", "solver", "must be above time_limit_s (20)"),
        (
            "horizon: {length_s: 60, bucket_s: 10}\nsolver: {deadline_s: 90}",
            "settings",
            "must be at most horizon.length_s (60)",
        ),
        ("horizon: {idle_timeout_s: 5}", "settings", "must be at least bucket_s (10)"),
        ("demand: {headroom: twice}", "demand.headroom", "'quantile'"),
        ("clock: sundial", "clock", "'wall' or 'replay'"),
        ("- 1", "coxswain.yaml", "must be a mapping"),
        ("a: [", "coxswain.yaml", "not YAML"),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_rule(tmp_path: Path, text: str, where: str, rule: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text))
    assert caught.value.where.endswith(where)
    assert rule in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: no such file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_every_method_of_the_optimizer_can_be_asked_for_and_no_other() -> None:
    allowed = get_args(SolverSettings.model_fields["method"].annotation)
    assert set(allowed) == set(METHODS)


def test_numbers_in_yaml_are_read_as_people_write_them(tmp_path: Path) -> None:
    assert (
        load_settings(written(tmp_path, "horizon: {min_improvement: 5e-3}")).horizon.min_improvement == 0.005
    )


SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "coxswain",
    "sasl_password": CANARY,
}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            {"security_protocol": "SASL_PLAINTEXT"},
            "SASL_PLAINTEXT sends a password over the network unprotected",
        ),
        (
            {"security_protocol": "PLAINTEXT"},
            "sasl_* settings need security_protocol SASL_SSL, not PLAINTEXT",
        ),
        ({"security_protocol": "SSL"}, "sasl_* settings need security_protocol SASL_SSL, not SSL"),
        ({"sasl_mechanism": None}, "SASL_SSL needs sasl_mechanism"),
        ({"sasl_username": None}, "SASL_SSL needs sasl_mechanism, sasl_username"),
        ({"sasl_password": None}, "one of sasl_password and sasl_password_file"),
        ({"sasl_password_file": "p"}, "one of sasl_password and sasl_password_file"),
        ({"ssl_cert_file": "c.pem"}, "ssl_cert_file and ssl_key_file go together"),
        ({"sasl_mechanism": "MD5"}, "'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
    ],
)
def test_half_a_way_in_is_refused_and_says_what_is_missing(
    change: dict[str, str | None], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (SASL | change).items():
        if value is not None:
            monkeypatch.setenv(f"COXSWAIN_KAFKA__{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    assert rule in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_password_over_plaintext_passes_where_that_is_said() -> None:
    kafka = KafkaSettings.model_validate(
        SASL | {"security_protocol": "SASL_PLAINTEXT", "allow_plaintext_password": True}
    )
    assert kafka.security_options() == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "coxswain",
        "sasl_plain_password": CANARY,
    }


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {{sasl_password: {CANARY}}}",
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: u, "
        f"sasl_password: {CANARY}}}",
        f"kafka: {{sasl_pasword: {CANARY}}}",
        f"kafka: {{sasl_username: [{CANARY}]}}",
        f"kafka: [{CANARY}]",
        f"kafka: {CANARY}",
    ],
)
def test_a_password_in_the_settings_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text))
    assert caught.value.where.startswith("kafka")
    assert CANARY not in str(caught.value)


def test_no_password_is_in_what_settings_or_a_connection_look_like(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{CANARY}\n")
    by_file = {name: value for name, value in SASL.items() if name != "sasl_password"}
    for kafka in (
        KafkaSettings.model_validate(SASL),
        KafkaSettings.model_validate(by_file | {"sasl_password_file": str(file)}),
    ):
        options = kafka.security_options()
        assert options["sasl_plain_password"] == CANARY
        shown = [
            repr(kafka),
            str(kafka),
            kafka.model_dump_json(),
            repr(KafkaConnection("k:1", security=options)),
        ]
        assert CANARY not in "".join(shown)


@pytest.mark.parametrize("name", ["ssl_ca_file", "ssl_cert_file", "sasl_password_file"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    lines = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u"}
    lines |= {"sasl_password_file": "missing", name: "missing"}
    if name == "ssl_cert_file":
        lines["ssl_key_file"] = "missing"
    path = written(tmp_path, "kafka: {" + ", ".join(f"{key}: {value}" for key, value in lines.items()) + "}")
    with pytest.raises(SettingsError, match=rf"kafka\.{name}: .*{tmp_path}/missing"):
        load_settings(path).kafka.security_options()
