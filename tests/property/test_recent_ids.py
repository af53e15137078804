from hypothesis import given
from hypothesis import strategies as st

from controller.stream.recent_ids import RecentIds


@given(st.lists(st.sampled_from("abcdef"), max_size=80), st.integers(min_value=1, max_value=10))
def test_an_id_is_a_repeat_exactly_when_it_stood_within_the_window(ids: list[str], window: int) -> None:
    recent = RecentIds(window)
    for offset, event_id in enumerate(ids):
        assert recent.seen(event_id, offset) == (event_id in ids[max(0, offset - window) : offset])


@given(st.lists(st.sampled_from("abcdef"), max_size=80), st.integers(min_value=1, max_value=10), st.data())
def test_reading_the_last_window_again_gives_the_same_answers_from_there_on(
    ids: list[str], window: int, data: st.DataObject
) -> None:
    whole = RecentIds(window)
    answers = [whole.seen(event_id, offset) for offset, event_id in enumerate(ids)]
    at = data.draw(st.integers(min_value=0, max_value=len(ids)))
    resumed = RecentIds(window)
    start = max(0, at - window)
    again = [resumed.seen(event_id, offset) for offset, event_id in enumerate(ids[start:], start)]
    assert again[at - start :] == answers[at:]


@given(st.lists(st.text(max_size=3), max_size=200))
def test_memory_is_bounded_by_the_window(ids: list[str]) -> None:
    recent = RecentIds(10)
    for offset, event_id in enumerate(ids):
        recent.seen(event_id, offset)
        assert len(recent) <= 11
