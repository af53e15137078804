"""The plan in force: what each record of ``llm.plans.v1`` does to it, and what is answered."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from controller.clock import Clock
from controller.errors import MessageError, SettingsError
from controller.logs import get_logger
from controller.router.choose import RouteChooser
from controller.router.decode import decode_plan, read_header
from controller.router.fence import Fence, LogIdentity
from controller.router.last_good import LastGoodStore
from controller.router.tail import newest
from schemas import AllocationPlan, PlanAck
from schemas.base import Name

_log = get_logger(__name__)

OnPlan = Callable[[AllocationPlan], Awaitable[None] | None]
_LONGEST_REASON = 500
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class PlanInForce:
    """Decides on each plan: applied, refused, stale, or none of ours.

    Parameters are those of :class:`controller.router.subscriber.PlanSubscriber`.

    Raises
    ------
    SettingsError
        A name that no message could carry.
    """

    def __init__(
        self, router: str, fleet: str, store: LastGoodStore, clock: Clock, on_plan: OnPlan | None
    ) -> None:
        for what, name in (("router", router), ("fleet", fleet)):
            try:
                _NAME.validate_python(name)
            except ValidationError:
                raise SettingsError(
                    what, "must be 1 to 128 characters, none a control character", name
                ) from None
        self._router = router
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._on_plan = on_plan
        self._fence = Fence()
        self._said_stale = False
        self.current: AllocationPlan | None = None
        self.chooser = RouteChooser()
        self.counts: Counter[str] = Counter()

    @property
    def is_stale(self) -> bool:
        """Whether the plan in force is past its ``valid_until``."""
        return self.current is not None and self._clock.now() > self.current.valid_until

    async def restore(self) -> None:
        """Put the plan from disk in force, where there is one of this fleet."""
        kept = await asyncio.to_thread(self._store.load)
        if kept is None:
            return
        if kept.plan.fleet != self._fleet:
            _log.error("last_good_plan_of_another_fleet", fleet=kept.plan.fleet, wanted=self._fleet)
            return
        if await self._hand_over(kept.plan) is None:
            self._fence = kept.fence
            self._act_on(kept.plan)
            _log.info(
                "plan_restored", plan_id=kept.plan.plan_id, epoch=kept.plan.epoch, sequence=kept.plan.sequence
            )

    def enter_log(self, identity: LogIdentity) -> bool:
        """Note which log plans come from now; return whether the fence started anew for it."""
        self._fence, difference = self._fence.in_log(identity)
        if difference is not None:
            _log.warning("fence_starts_anew", reason=difference)
        return difference is not None

    async def take_tail(self, records: list[bytes]) -> list[PlanAck]:
        """Act on the newest plan of a topic's tail; return the answers that are due.

        Older plans are no news and need no answer. One that cannot be read does, where it would have been the newest.
        """
        plans: list[AllocationPlan] = []
        refusals: list[PlanAck] = []
        for raw in records:
            plan, refusal = self._read(raw)
            if plan is not None:
                plans.append(plan)
            if refusal is not None:
                refusals.append(refusal)
        acks: list[PlanAck] = []
        best = newest(plans)
        if best is not None and self._fence.accepts(best):
            acks.append(await self._apply(best))
        elif best is not None and self._fence.last == (best.epoch, best.sequence):
            # It was applied before a restart; whether that was ever said is not known.
            acks.append(self._answer(best.epoch, best.sequence, "applied", "restored from disk"))
        in_force = self._fence.last or (-1, -1)
        return acks + [refusal for refusal in refusals if (refusal.epoch, refusal.sequence) > in_force]

    async def take(self, raw: bytes) -> PlanAck | None:
        """Act on one record; return the answer, or None where none is due."""
        plan, refusal = self._read(raw)
        if plan is None:
            return refusal
        if self._fence.accepts(plan):
            return await self._apply(plan)
        self.counts["stale"] += 1
        last = self._fence.last
        _log.info("plan_stale", plan_id=plan.plan_id, epoch=plan.epoch, sequence=plan.sequence, last=last)
        return self._answer(plan.epoch, plan.sequence, "stale", f"{last} is in force")

    def note_staleness(self) -> None:
        """Log once that the plan in force is past its time."""
        if self.current is not None and self.is_stale and not self._said_stale:
            self._said_stale = True
            late_s = self._clock.now() - self.current.valid_until
            _log.warning("plan_out_of_date", plan_id=self.current.plan_id, late_s=round(late_s, 3))

    def _read(self, raw: bytes) -> tuple[AllocationPlan | None, PlanAck | None]:
        """Return a plan of this fleet, or the refusal of one, or neither."""
        try:
            plan = decode_plan(raw)
        except MessageError as error:
            header = read_header(raw)
            if header.fleet is not None and header.fleet != self._fleet:
                self.counts["ignored"] += 1
                return None, None
            self.counts["refused"] += 1
            _log.warning("plan_refused", reason=error.reason, detail=str(error), order=header.order)
            if header.fleet is None or header.order is None:
                return None, None  # it does not say whose it is, or which: nobody could read the answer
            return None, self._answer(*header.order, "refused", f"{error.reason}: {error}")
        if plan.fleet != self._fleet:
            self.counts["ignored"] += 1
            return None, None
        return plan, None

    async def _apply(self, plan: AllocationPlan) -> PlanAck:
        objection = await self._hand_over(plan)
        if objection is not None:
            self.counts["refused"] += 1
            return self._answer(plan.epoch, plan.sequence, "refused", objection)
        self._fence = self._fence.after(plan)
        self._act_on(plan)
        reason = ""
        try:
            await asyncio.to_thread(self._store.save, plan, self._fence.identity)
        except OSError as error:
            # Routing goes on; what is lost is the way back after a restart, and that is said.
            reason = f"not kept on disk: {error}"
            _log.error("last_good_plan_not_kept", plan_id=plan.plan_id, reason=str(error))
        self.counts["applied"] += 1
        _log.info("plan_applied", plan_id=plan.plan_id, epoch=plan.epoch, sequence=plan.sequence)
        return self._answer(plan.epoch, plan.sequence, "applied", reason)

    def _act_on(self, plan: AllocationPlan) -> None:
        self.chooser.use(plan)
        self.current = plan
        self._said_stale = False

    async def _hand_over(self, plan: AllocationPlan) -> str | None:
        """Give the plan to the router's own code; return its objection, if it has one."""
        if self._on_plan is None:
            return None
        try:
            pending = self._on_plan(plan)
            if inspect.isawaitable(pending):
                await pending
        except Exception as error:  # whatever the router's code raises means that it cannot act on this plan
            _log.exception("on_plan_failed", plan_id=plan.plan_id)
            return f"on_plan: {error!r}"
        return None

    def _answer(
        self, epoch: int, sequence: int, status: Literal["applied", "refused", "stale"], reason: str
    ) -> PlanAck:
        return PlanAck(
            router=self._router,
            epoch=epoch,
            sequence=sequence,
            status=status,
            reason=reason[:_LONGEST_REASON],
        )
