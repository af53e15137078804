from pathlib import Path
from typing import get_args

import pytest

from controller.errors import SettingsError
from controller.optimizer.solve import METHODS
from controller.settings import SolverSettings, load_settings


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
