"""Follow the plans: the newest one at start, each newer one as it comes, the last good one whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.clock import Clock, WallClock
from controller.errors import BrokerError
from controller.kafka import KafkaConnection, is_cancelled
from controller.logs import get_logger
from controller.router.in_force import OnPlan, PlanInForce
from controller.router.last_good import LastGoodStore
from controller.router.plan_log import KafkaPlanLog, PlanLog
from controller.router.tail import DEFAULT_DEPTH, DEFAULT_TIMEOUT_S
from schemas import AllocationPlan

_log = get_logger(__name__)


class PlanSubscriber:
    """Keeps a router on the newest allocation plan.

    A gateway uses it so::

        connection = KafkaConnection("kafka:9092", client_id="gateway-7")
        async with PlanSubscriber(connection, router="gateway-7", fleet="main", state_dir=Path("/var/lib/gw")) as plans:
            ...
            deployment = plans.choose(request.query_type)  # for each request
            if deployment is None:
                return too_busy(request)                   # the plan sheds this one
            return await forward(request, to=deployment)

    What it holds to:

    * It starts with the highest ``(epoch, sequence)`` of the topic's tail, and takes only higher ones afterwards; what
      is not higher is acknowledged as ``stale``. A fence kept on disk makes this hold across restarts; in another
      cluster, or once the planner-claims topic was made anew, it starts anew, and says so.
    * A plan that cannot be read, is of a higher major version, contradicts itself, or that ``on_plan`` raises for, is
      acknowledged as ``refused``; the last good plan stays. Plans of other fleets are ignored.
    * The last good plan is on disk before it is acknowledged as ``applied``. Where the broker is out of reach at the
      start, a router that has one routes by it and goes on trying; a router that has none fails with ``BrokerError``.
    * Past ``valid_until`` without a newer plan it keeps the last one: :attr:`is_stale`, logged once.

    Parameters
    ----------
    connection : the cluster.
    router : this router's name; the key of its acknowledgements.
    fleet : whose plans to follow.
    state_dir : a directory of this router's own, for its last good plan.
    clock : judges ``valid_until``.
    on_plan : called, and awaited where it returns an awaitable, with each plan before it is in force.
    tail_depth : records from the end of the topic that are looked at on start.
    timeout_s : how long connecting and reading the tail may take.
    poll_s : how long to wait for plans before the clock is looked at again.
    retry_s : pause after the broker refused.
    log : the broker, for tests.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        router: str,
        fleet: str,
        state_dir: Path,
        *,
        clock: Clock | None = None,
        on_plan: OnPlan | None = None,
        tail_depth: int = DEFAULT_DEPTH,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        poll_s: float = 0.5,
        retry_s: float = 1.0,
        log: PlanLog | None = None,
    ) -> None:
        self._router = router
        self._in_force = PlanInForce(
            router, fleet, LastGoodStore(state_dir), WallClock() if clock is None else clock, on_plan
        )
        self._tail_depth = tail_depth
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._log: PlanLog = KafkaPlanLog(connection, timeout_s) if log is None else log
        self._is_connected = False
        self._is_stopped = False
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    @property
    def current(self) -> AllocationPlan | None:
        """The plan in force; None before the first."""
        return self._in_force.current

    @property
    def is_stale(self) -> bool:
        """Whether the plan in force is past its ``valid_until``, by the given clock."""
        return self._in_force.is_stale

    @property
    def is_connected(self) -> bool:
        """Whether the topic's tail has been read; False while the plan from disk is all there is."""
        return self._is_connected

    @property
    def counts(self) -> Mapping[str, int]:
        """Records so far by what became of them: ``applied``, ``stale``, ``refused``, ``ignored``."""
        return dict(self._in_force.counts)

    def choose(self, query_type: str) -> str | None:
        """Return the deployment for the next request, or None where the plan sheds it.

        Raises
        ------
        InputError
            There is no plan yet, or it says nothing of this query type.
        """
        return self._in_force.chooser.choose(query_type)

    async def plans(self) -> AsyncIterator[AllocationPlan]:
        """Yield the plan in force, then newer ones; a slow reader misses those in between, never the newest.

        Ends when the subscriber is stopped. Raises what ended it before that, if anything did.
        """
        seen: AllocationPlan | None = None
        while True:
            changed = self._changed
            if self.current is not None and self.current is not seen:
                seen = self.current
                yield seen
            elif self._is_stopped:
                return
            elif self._following is not None and self._following.done():
                self._following.result()
                return
            else:
                await changed.wait()

    async def start(self) -> None:
        """Read what there is, then follow.

        Raises
        ------
        BrokerError
            The broker is out of reach, or lacks the topic, and no last good plan is on disk.
        """
        await self._in_force.restore()
        try:
            await self._connect()
        except BrokerError as error:
            if self.current is None:
                raise
            _log.warning("broker_out_of_reach", serving="the last good plan, from disk", reason=str(error))
        self._following = asyncio.create_task(self._follow(), name=f"plans-for-{self._router}")
        self._following.add_done_callback(self._following_ended)

    async def stop(self) -> None:
        """Stop following; the plan in force stays in force."""
        self._is_stopped = True
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._log.close()
        self._wake_readers()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _connect(self) -> None:
        identity, records = await self._log.open(self._tail_depth)
        self._in_force.enter_log(identity)
        self._is_connected = True
        for ack in await self._in_force.take_tail(records):
            await self._log.acknowledge(ack)
        self._wake_readers()

    async def _follow(self) -> None:
        is_interrupted = not self._is_connected
        while not is_cancelled():
            try:
                if not self._is_connected:
                    await self._connect()
                records = await self._log.poll(self._poll_s)
            except BrokerError as error:
                if not is_interrupted:
                    _log.warning("plans_interrupted", reason=str(error))
                is_interrupted = True
                self._in_force.note_staleness()
                await asyncio.sleep(self._retry_s)
                continue
            if is_interrupted:
                _log.info("plans_followed_again")
                is_interrupted = False
            for raw in records:
                await self._take(raw)
            self._in_force.note_staleness()

    async def _take(self, raw: bytes) -> None:
        ack = await self._in_force.take(raw)
        if ack is not None and ack.status == "stale" and self._in_force.enter_log(await self._log.identity()):
            # Not an old planner's, but a new one's in a log that was made anew under us.
            ack = await self._in_force.take(raw)
        if ack is None:
            return
        await self._log.acknowledge(ack)
        if ack.status == "applied":
            self._wake_readers()

    def _following_ended(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            _log.error("following_plans_ended", router=self._router, exc_info=error)
        self._wake_readers()

    def _wake_readers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
