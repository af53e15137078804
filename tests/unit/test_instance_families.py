"""Instances made by name: the same for the same name, of the size and with the limits that the name says."""

import hashlib
import json

import pytest

from controller.domain.instance_file import read_instance, write_instance
from tests.benchmarks.families import instance_of, mixed


def test_a_name_means_one_instance_for_good() -> None:
    texts = []
    for name in ("paper-s1001-x10", "synth-6x5x4-s1002-x3-avg"):
        instance = instance_of(name)
        instance_of.cache_clear()
        assert instance == instance_of(name)
        texts.append(json.dumps(write_instance(instance), sort_keys=True))
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    assert digest[:16] == "17c662e00076beec", "names of instances now mean other instances"


def test_the_name_says_what_the_instance_has() -> None:
    plain = instance_of("paper-s1003-x10")
    assert (len(plain.query_types), len(plain.models), len(plain.gpu_tiers)) == (6, 6, 10)
    tenth = instance_of("paper-s1003").query_types
    assert plain.query_types[0].arrival_rate_per_s == pytest.approx(
        10 * tenth[0].arrival_rate_per_s, rel=1e-5
    )
    tight, half = (instance_of(f"paper-s1003-x10-tight{n}").budget_usd for n in (80, 40))
    assert tight is not None
    assert half == pytest.approx(tight / 2, abs=0.02)
    assert {tier.available for tier in instance_of("paper-s1003-x10-a64").gpu_tiers} == {64}
    assert [item.max_unmet for item in instance_of("paper-s1003-x10-unmet").query_types] == [0.02] * 3 + [
        1.0
    ] * 3
    assert len(instance_of("paper-s1003-profiles").profiles) == 8
    moved = instance_of("paper-s1003-x10-switch10")
    assert moved.incumbent
    assert moved.switching is not None
    for item, before in zip(moved.query_types, plain.query_types, strict=True):
        assert abs(item.arrival_rate_per_s / before.arrival_rate_per_s - 1) == pytest.approx(0.1, rel=1e-4)
    both = instance_of("synth-7x6x5-s1004-avg-storage")
    assert (len(both.query_types), len(both.models), len(both.gpu_tiers)) == (7, 6, 5)
    assert both.delay_slo == "average"
    assert both.storage_gb is not None


@pytest.mark.parametrize(
    "name", ["paper", "paper-s1-tight", "paper-s1-avg3", "paper-s1-blue", "synth-4x4-s1", "x"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no instance of these families"):
        instance_of(name)


def test_every_name_of_the_mix_can_be_made_and_written() -> None:
    names = list(mixed(1500))
    assert len(names) == len(set(names)) == 22
    for name in names[:4] + names[13:17]:
        instance = instance_of(name)
        assert instance.name == name
        assert read_instance(write_instance(instance)) == instance
