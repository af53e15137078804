"""Start a worker of which something hangs: ``python -m tests.stream.stuck_worker WHAT worker --config ...``.

WHAT is ``deaf``, a part that hangs when the worker is to stop; ``failing``, that one, and another one that fails;
``complaining``, one that fails as it is to stop; or ``swallowing``: what the planner waits for while it takes over ends
where it is cancelled, but says nothing of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from controller.cli import main
from controller.stream import planner, worker
from controller.stream.worker import Worker


async def _deaf() -> None:
    """Swallow every cancellation, as Faust's own services do."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600.0)


async def _failing() -> None:
    await asyncio.sleep(1.0)
    raise RuntimeError("the part has failed")


async def _complaining() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise RuntimeError("no time to clean up")


async def _swallowing(*_: Any) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _put_in(*parts: Any) -> None:
    of_worker = Worker._parts

    def with_them(self: Worker) -> dict[str, Coroutine[Any, Any, Any]]:
        return {**of_worker(self), **{part.__name__.strip("_"): part() for part in parts}}

    Worker._parts = with_them  # type: ignore[method-assign]
    worker._STOP_TIMEOUT_S = 1.0


if __name__ == "__main__":
    match sys.argv.pop(1):
        case "deaf":
            _put_in(_deaf)
        case "failing":
            _put_in(_deaf, _failing)
        case "complaining":
            _put_in(_complaining)
        case "swallowing":
            planner.newest_plan = _swallowing  # type: ignore[assignment]
    main()
