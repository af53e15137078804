import pytest

from controller.errors import WorkerError
from controller.stream.stall import StallWatch


def look(watch: StallWatch, *looks: dict[str, int], start_s: float = 0.0) -> None:
    for second, behind in enumerate(looks):
        watch.look(start_s + second, behind)


def test_a_partition_that_has_something_to_read_and_reads_nothing_for_the_whole_time_is_an_error() -> None:
    watch = StallWatch(3.0)
    look(watch, *[{"source/0": 7, "source/1": second} for second in range(3)])
    with pytest.raises(WorkerError, match=r"source/0 stands still at offset 7.*for 3 s"):
        look(watch, {"source/0": 7, "source/1": 9}, start_s=3.0)


def test_whoever_gets_on_or_has_nothing_to_read_does_not_stand_still() -> None:
    look(StallWatch(3.0), *[{"source/0": second // 2} for second in range(20)])
    look(StallWatch(3.0), *[{"source/0": 7} if second % 3 else {} for second in range(20)])
    look(StallWatch(3.0), *[{} for _ in range(20)])


def test_a_process_that_was_stopped_for_long_gets_its_time_when_it_goes_on() -> None:
    watch = StallWatch(60.0)
    look(watch, {"source/0": 7}, {"source/0": 7})
    watch.look(3600.0, {"source/0": 7})
    look(watch, *[{"source/0": 7}] * 50, start_s=3601.0)
    with pytest.raises(WorkerError):
        look(watch, *[{"source/0": 7}] * 10, start_s=3651.0)
