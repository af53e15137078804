"""Named points at which a fault campaign kills or stops a worker from within; off unless the environment arms one.

``COXSWAIN_KILL_AT=after-store:3`` kills the process on its third passage of ``after-store``;
``before-publish:1:SIGSTOP`` stops it there, once. ``any:40`` stands for the fortieth passage of whichever point. What
was reached is logged before the signal, so that a campaign knows where each one landed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Literal, get_args

from controller.errors import SettingsError
from controller.logs import get_logger

log = get_logger(__name__)

VARIABLE = "COXSWAIN_KILL_AT"
ANY = "any"
Point = Literal[
    "during-recovery",
    "before-seek",
    "after-seek",
    "on-revoke",
    "after-count",
    "before-store",
    "after-store",
    "before-commit",
    "before-demand",
    "after-demand",
    "before-claim",
    "after-claim",
    "mid-solve",
    "before-publish",
    "after-check",
    "after-publish",
    "after-memory",
]
POINTS: tuple[Point, ...] = get_args(Point)


def _off(point: Point) -> None:
    """Do nothing: no point is armed."""


def arm(armed: str, send: Callable[[signal.Signals], None]) -> Callable[[Point], None]:
    """Return the function to call at each passage of a point.

    Parameters
    ----------
    armed : ``point:passage`` or ``point:passage:signal``, as in the module's docstring.
    send : sends a signal to this process.

    Raises
    ------
    SettingsError : no such point, passage or signal.
    """
    wanted, _, rest = armed.partition(":")
    passage, _, name = rest.partition(":")
    number = signal.Signals.__members__.get(name or "SIGKILL")
    if wanted not in (ANY, *POINTS) or not passage.isdecimal() or int(passage) < 1 or number is None:
        raise SettingsError(VARIABLE, "must be point:passage or point:passage:signal", armed)
    left = int(passage)

    def passing(point: Point) -> None:
        nonlocal left
        if wanted in (ANY, point):
            left -= 1
            if left == 0:
                log.critical("kill_point_reached", point=point, passage=int(passage), signal=number.name)
                send(number)

    return passing


def _to_this_process(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


_armed = os.environ.get(VARIABLE)
passing: Callable[[Point], None] = arm(_armed, _to_this_process) if _armed else _off
"""Say that a point is being passed; nothing happens unless it is armed."""
