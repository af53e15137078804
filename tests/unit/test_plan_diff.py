from hypothesis import given
from hypothesis import strategies as st

from controller.domain.entities import DeploymentKey
from controller.domain.plan_diff import PlanDiff

A, B, C = (DeploymentKey(name, "gpu", 2, 1) for name in "abc")
fleets = st.dictionaries(st.sampled_from([A, B, C]), st.integers(min_value=0, max_value=4))


def test_starts_come_before_stops() -> None:
    diff = PlanDiff.between({A: 3, B: 1}, {B: 4, C: 1})
    assert [(c.action, c.key, c.before, c.after) for c in diff.changes] == [
        ("start", B, 1, 4),
        ("start", C, 0, 1),
        ("stop", A, 3, 0),
    ]
    assert diff.gpus_moved == 2 * (3 + 1 + 3)


@given(fleets, fleets)
def test_carrying_out_the_changes_leads_from_one_fleet_to_the_other(
    before: dict[DeploymentKey, int], after: dict[DeploymentKey, int]
) -> None:
    running = dict(before)
    for change in PlanDiff.between(before, after).changes:
        assert running.get(change.key, 0) == change.before
        running[change.key] = change.after
    assert {k: n for k, n in running.items() if n} == {k: n for k, n in after.items() if n}
