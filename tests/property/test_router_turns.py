"""Invariants of taking turns:

1. under one set of weights every option has had floor(n f) or ceil(n f) turns, after every n;
2. over any sequence of weights for m options, never a turn more than all shares sum to, never m - 1 fewer;
3. the sequence is a function of the weights alone.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.router.shares import WHOLE, Weights
from controller.router.turns import Turns


def _weights(parts: list[int]) -> Weights:
    """Scale positive parts to weights that sum to WHOLE, all positive."""
    names: list[str | None] = [f"d{n}" for n in range(len(parts) - 1)] + [None]
    whole = [max(1, WHOLE * part // sum(parts)) for part in parts]
    whole[whole.index(max(whole))] += WHOLE - sum(whole)
    return dict(zip(names, whole, strict=True))


_parts = st.lists(st.integers(1, 10**6), min_size=1, max_size=9)


@given(_parts, st.integers(1, 300))
def test_every_option_has_had_the_floor_or_the_ceiling_of_its_due_after_every_turn(
    parts: list[int], count: int
) -> None:
    weights = _weights(parts)
    turns = Turns(weights)
    had = dict.fromkeys(weights, 0)
    for n in range(1, count + 1):
        had[turns.next()] += 1
        for option, weight in weights.items():
            assert abs(Fraction(n * weight, WHOLE) - had[option]) < 1


@settings(max_examples=60)
@given(st.data())
def test_over_changing_weights_no_option_is_a_turn_ahead_or_all_others_turns_behind(
    data: st.DataObject,
) -> None:
    m = data.draw(st.integers(2, 6))
    changes = st.lists(
        st.tuples(st.lists(st.integers(1, 1000), min_size=m, max_size=m), st.integers(1, 9)),
        min_size=1,
        max_size=25,
    )
    turns: Turns | None = None
    due: dict[str | None, Fraction] = {}
    for parts, count in data.draw(changes):
        weights = _weights(parts)
        if turns is None:
            turns, due = Turns(weights), dict.fromkeys(weights, Fraction(0))
        else:
            turns.reweigh(weights)
        for _ in range(count):
            for option, weight in weights.items():
                due[option] += Fraction(weight, WHOLE)
            due[turns.next()] -= 1
            assert all(-1 < lag < max(1, m - 1) for lag in due.values())


@given(_parts)
def test_one_turn_per_plan_still_follows_the_shares(parts: list[int]) -> None:
    """A type that is asked for once per plan must not always go to its largest share."""
    weights = _weights(parts)
    names = list(weights)
    turns = Turns(weights)
    had = dict.fromkeys(weights, 0)
    for n in range(1, 101):
        had[turns.next()] += 1
        # A plan that differs by a hair: one unit moves from the heaviest to the first, and back.
        other = dict(weights)
        heaviest = max(names, key=lambda name: weights[name])
        other[heaviest] -= n % 2
        other[names[0]] += n % 2
        turns.reweigh(other)
    assert all(
        abs(Fraction(100 * weights[name], WHOLE) - had[name]) < max(1, len(names) - 1) for name in names
    )


@given(_parts, _parts, st.integers(0, 40))
def test_options_that_go_leave_no_debt_behind(before: list[int], after: list[int], count: int) -> None:
    turns = Turns(_weights(before))
    for _ in range(count):
        turns.next()
    weights = _weights(after)
    turns.reweigh(weights)
    had = dict.fromkeys(weights, 0)
    for n in range(1, 101):
        had[turns.next()] += 1
        assert all(had[o] < Fraction(n * w, WHOLE) + len(before) + 1 for o, w in weights.items())
    assert sum(had.values()) == 100
    assert sum(turns._lags.values()) == 0


@given(_parts)
def test_the_same_weights_give_the_same_turns(parts: list[int]) -> None:
    first, second = Turns(_weights(parts)), Turns(_weights(parts))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]
