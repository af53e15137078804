import time

from controller.clock import ReplayClock, WallClock


def test_the_wall_clock_tells_the_machines_time() -> None:
    before = time.time()
    assert before <= WallClock().now() <= time.time()


def test_a_replay_clock_stands_where_it_was_set_and_never_goes_back() -> None:
    clock = ReplayClock()
    assert clock.now() == float("-inf")
    clock.advance(100.0)
    clock.advance(40.0)
    assert clock.now() == 100.0
