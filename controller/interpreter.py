"""What a worker asks of Python's interpreter: to look for cycles seldom, and to let threads take turns fast."""

from __future__ import annotations

import gc
import sys

_YOUNG_OBJECTS = 100_000
"""Between two looks for cycles. A chunk is tens of thousands of tuples that all live until it is counted: at Python's
default of 700, looking through them again and again takes a fifth of the worker's time, and finds nothing."""
_THREAD_TURN_S = 0.001
"""The thread that fetches is busy at high rates, and the planner waits for it whenever it has sent something; at
Python's default of 5 ms a turn, a dozen waits make the tail of the time from a closed horizon to its plan."""


def tune_interpreter() -> None:
    """Set both, once all is imported: what was made so far stays, and is not looked at again."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    sys.setswitchinterval(_THREAD_TURN_S)
