"""The planner's shell around the pure tick: one at a time for a fleet, fenced by its claim.

Whoever owns the one partition of the demand topic plans. On taking over, it appends a claim, whose offset is its epoch;
takes the newest plan of the topic for the one in force; and rebuilds its window from the snapshots, which are absolute.
Then, whenever a window closes, it ticks, has the plan solved in another process, concludes, and publishes, unless there
is a newer claim than its own by then.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from dataclasses import replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from controller.clock import Clock
from controller.demand.window import DemandWindow, WindowView
from controller.errors import BrokerError, MessageError, WorkerError
from controller.horizon import begin, conclude, tick
from controller.kafka import KafkaConnection, is_cancelled
from controller.kill_points import passing
from controller.logs import get_logger
from controller.records import (
    DecisionName,
    PlannerState,
    PlanRecord,
    SolveRequest,
    TickInput,
    Trigger,
)
from controller.router.tail import newest_plan
from controller.settings import Settings, horizon_policy
from controller.stream.agenda import Agenda
from controller.stream.claims import Claims
from controller.stream.codec import (
    ledger_of,
    memory_of,
    plan_message,
    plan_of,
    remembered,
)
from controller.stream.fleet_news import FleetNews
from controller.stream.ingest import windowing_of
from controller.stream.memory import PlannerMemory
from controller.stream.solver import SolverProcess
from controller.stream.tick_log import log_tick
from controller.stream.transport import Chunk
from schemas import AllocationPlan, DemandSnapshot, PlannerClaim, Topic

log = get_logger(__name__)

_POLLS_PER_S = 50
_POLL_S = 1.0 / _POLLS_PER_S
_RETRY_S = 1.0


class Planner:
    """Plans for one fleet while this worker owns the demand topic's partition.

    Parameters
    ----------
    news : the catalog in force, and what was last said to run.
    num_partitions : of the source topic; demand is unknown until each was heard of.
    memory : what the estimators remember.
    """

    def __init__(
        self,
        settings: Settings,
        news: FleetNews,
        clock: Clock,
        connection: KafkaConnection,
        num_partitions: int,
        memory: PlannerMemory,
        solver: SolverProcess,
    ) -> None:
        self._settings = settings
        self._news = news
        self._clock = clock
        self._connection = connection
        self._num_partitions = num_partitions
        self._memory = memory
        self._solver = solver
        horizon = settings.horizon
        self._policy = horizon_policy(settings)
        patience_s = horizon.length_s + horizon.allowed_lateness_s + horizon.idle_timeout_s
        self._agenda = Agenda(self._policy, horizon.bucket_s, patience_s)
        self._window = self._new_window()
        self._is_owner = False
        self._believed_from = 0
        self._tenure = 0
        self._state: PlannerState | None = None
        self._polls_stood_down = 0
        self._claims = Claims(connection, settings.kafka.request_timeout_s)
        self._producer: AIOKafkaProducer | None = None

    def _new_window(self) -> DemandWindow:
        horizon = self._settings.horizon
        return DemandWindow(self._num_partitions, horizon.bucket_s, horizon.idle_timeout_s)

    def own(self, demand_end: int) -> None:
        """Begin to plan: the demand partition is ours. Its snapshots are read from the start again.

        Parameters
        ----------
        demand_end : offset at which it ended when it became ours.
        """
        self._is_owner = True
        self._believed_from = demand_end
        self._tenure += 1
        self._state = None
        self._polls_stood_down = 0
        self._window = self._new_window()

    def disown(self) -> None:
        """Stop planning at once: the demand partition is no longer ours."""
        self._is_owner = False
        self._tenure += 1
        self._state = None

    def ask(self) -> None:
        """Plan anew without a cause, where planning is ours: somebody wants it."""
        log.info("plan_asked_for", is_planner=self._is_owner)
        if self._is_owner:
            self._agenda.ask()

    def take(self, chunk: Chunk) -> None:
        """Apply the newest snapshot of each source partition in a chunk of the demand topic."""
        windowing = windowing_of(self._settings)
        # Snapshots are absolute: of each source partition, which is the key, the last one says it all.
        records = zip(chunk.offsets, chunk.values, strict=True)
        for offset, raw in dict(zip(chunk.keys, records, strict=True)).values():
            try:
                snapshot = DemandSnapshot.model_validate_json(raw or b"", extra="ignore")
                # That a partition was read to its end is believed of those who count it now. Who counted it before us
                # may have been dead for long, and everything that came since would pass for silence.
                is_at_end = snapshot.at_end and offset >= self._believed_from
                self._window.apply(ledger_of(snapshot, windowing), is_at_end)
            except (ValidationError, MessageError) as error:
                log.warning("snapshot_refused", error=str(error))

    async def run(self) -> None:
        """Plan for as long as the worker runs; failures of the broker are waited out."""
        self._producer = AIOKafkaProducer(
            **self._connection.aiokafka_kwargs(),
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=round(self._settings.kafka.request_timeout_s * 1000),
        )
        try:
            await self._producer.start()
            await self._claims.start()
            await self._solver.start()
            while not is_cancelled():
                try:
                    if self._is_owner:
                        await self._step()
                    await asyncio.sleep(_POLL_S)
                except (KafkaError, BrokerError) as error:
                    log.warning("planner_waits_for_broker", error=str(error))
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._solver.stop()
            await self._claims.stop()
            await self._producer.stop()

    async def _step(self) -> None:
        tenure = self._tenure
        if self._polls_stood_down > 0:
            self._polls_stood_down -= 1
            return
        if self._state is None:
            state = await self._take_over()
            if tenure == self._tenure:
                self._state = state
            return
        now_s = self._clock.now()
        self._state = begin(self._state, self._window.since_s, self._policy)
        due = self._agenda.due(self._state, self._window, self._news, now_s)
        if due is not None:
            await self._plan(*due, now_s, tenure)

    async def _take_over(self) -> PlannerState:
        """Claim an epoch, and learn what is in force."""
        fleet = self._news.catalog.fleet
        now_s = self._clock.now()
        claim = PlannerClaim(
            fleet=fleet, worker=socket.gethostname(), claimed_at=now_s if math.isfinite(now_s) else None
        )
        assert self._producer is not None  # noqa: S101 - run() made it
        passing("before-claim")
        sent = await self._producer.send_and_wait(
            Topic.PLANNER_CLAIMS.value, claim.encode(), key=fleet.encode(), partition=0
        )
        passing("after-claim")
        state = PlannerState(
            epoch=sent.offset,
            memory=remembered(self._memory.load(), self._policy.horizon_s),
        )
        newest = await newest_plan(self._connection, fleet)
        if newest is not None:
            plan, demand = plan_of(newest)
            # A plan for a surge starts within a horizon, which is the one that was planned.
            start_s = math.floor(newest.horizon_start / self._policy.horizon_s) * self._policy.horizon_s
            if newest.decision.name == DecisionName.HOLD_UNKNOWN_DEMAND.value:
                # Held, and open still: it is planned when its window closes, but not held a second time.
                self._agenda.note_held(start_s)
                start_s -= self._policy.horizon_s
            made_of = newest.input.catalog_hash
            state = replace(state, plan=plan, demand=demand, planned_start_s=start_s, catalog_digest=made_of)
        log.info(
            "planner_took_over",
            fleet=fleet,
            epoch=sent.offset,
            plan_in_force=None if newest is None else newest.plan_id,
        )
        return state

    async def _plan(self, trigger: Trigger, view: WindowView, now_s: float, tenure: int) -> None:
        assert self._state is not None  # noqa: S101 - the caller has one
        given = TickInput(trigger, now_s, self._news.catalog, view, self._news.fleet(now_s))
        state, effect = tick(self._state, given, self._policy)
        if isinstance(effect, SolveRequest):
            answer = await self._solver.solve(effect)
            if tenure != self._tenure:
                return  # planning is another worker's now; what we found is not to go out
            state, record = conclude(state, answer, self._clock.now(), self._policy)
        else:
            record = effect
        passing("before-publish")
        if await self._publish(record, tenure):
            passing("after-publish")
            self._state = state
            self._memory.store(memory_of(state, self._policy.horizon_s))
            passing("after-memory")
            log_tick(record)

    async def _publish(self, record: PlanRecord, tenure: int) -> bool:
        """Publish until the broker confirms it; an unknown outcome is repeated, with the same number.

        Before each attempt the broker is asked for the newest claim; a plan does not go out while it does not answer.

        Returns False where planning became another worker's in the meantime.

        Raises
        ------
        WorkerError : the broker confirmed nothing for as long as a worker may stand still.
        """
        assert self._producer is not None  # noqa: S101 - run() made it
        message = plan_message(record)
        patience_s, started_s = self._settings.kafka.stall_timeout_s, time.monotonic()
        while tenure == self._tenure:
            try:
                newest = await self._claims.newest()
                if tenure != self._tenure:
                    break
                if newest > record.epoch:
                    self._stand_down(message, newest)
                    break
                passing("after-check")
                await self._producer.send_and_wait(
                    Topic.PLANS.value, message.encode(), key=message.fleet.encode(), partition=0
                )
            except (KafkaError, BrokerError) as error:
                if time.monotonic() - started_s >= patience_s:
                    raise WorkerError(
                        f"plan {message.plan_id}: no word of the broker for {patience_s:g} s: {error}"
                    ) from error
                log.warning("publish_repeated", plan_id=message.plan_id, error=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return True
        return False

    def _stand_down(self, withheld: AllocationPlan, newest: int) -> None:
        """Stop planning, since another worker claimed it after us.

        By the group's word it is ours still, so one of us two was stopped for long. If that is us, the group tells us
        within a session timeout; if it still has not, the other is gone, and we claim anew. Polls are counted, not
        seconds: those in which we were stopped prove nothing.
        """
        log.warning(
            "planner_stands_down",
            fleet=withheld.fleet,
            epoch=withheld.epoch,
            newest_claim=newest,
            withheld=withheld.plan_id,
        )
        self._tenure += 1
        self._state = None
        self._polls_stood_down = math.ceil(self._settings.kafka.session_timeout_s * _POLLS_PER_S)
