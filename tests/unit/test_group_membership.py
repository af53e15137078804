"""A worker whose membership in its group has died knows it, while aiokafka says nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError

from controller.errors import WorkerError
from controller.stream.transport import _PromptThread
from controller.stream.worker import Worker


def thread_of(task: asyncio.Task[Any] | None) -> _PromptThread:
    thread = object.__new__(_PromptThread)
    thread._consumer = SimpleNamespace(_coordinator=SimpleNamespace(_coordination_task=task))
    return thread


async def test_an_error_of_the_coordination_is_told_and_its_life_its_end_and_its_absence_are_not() -> None:
    async def fails() -> None:
        raise KafkaError("Did we not perform bootstrap?")

    async def ends() -> None:
        """Do nothing."""

    dead, over, alive = (asyncio.create_task(work) for work in (fails(), ends(), asyncio.Event().wait()))
    await asyncio.wait([dead, over])
    assert "Did we not perform bootstrap?" in (thread_of(dead).why_out_of_group() or "")
    assert thread_of(over).why_out_of_group() is None
    assert thread_of(alive).why_out_of_group() is None
    assert thread_of(None).why_out_of_group() is None
    alive.cancel()


async def test_aiokafka_keeps_its_coordination_where_it_is_looked_for() -> None:
    coordinator = GroupCoordinator(
        AIOKafkaClient(), SubscriptionState(), group_id="test", exclude_internal_topics=True
    )
    assert isinstance(coordinator._coordination_task, asyncio.Task)
    await coordinator.close()


async def test_a_worker_that_fell_out_of_its_group_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.stream.worker.LOOK_S", 0.0)
    worker = object.__new__(Worker)
    worker._settings = SimpleNamespace(kafka=SimpleNamespace(stall_timeout_s=60.0))  # type: ignore[assignment]
    consumer = SimpleNamespace(assignment=frozenset, why_out_of_group=iter([None, "it died"]).__next__)
    worker.app = SimpleNamespace(consumer=consumer)  # type: ignore[assignment]
    with pytest.raises(WorkerError, match="fell out of its group: it died"):
        await worker._watch_for_stalls()
