"""``coxswain router`` as a process: it follows plans, and ends on a signal with what became of them."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from controller.broker import EmbeddedBroker, topics_for_worker
from schemas import AllocationPlan, Topic

pytestmark = pytest.mark.stream

ROOT = Path(__file__).parents[2]
PLAN = json.loads((ROOT / "tests" / "data" / "messages" / "plan.json").read_text())


async def send(bootstrap: str, *plans: AllocationPlan) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for plan in plans:
        await producer.send_and_wait(Topic.PLANS, plan.encode(), partition=0)
    await producer.stop()


def numbered(epoch: int, sequence: int) -> AllocationPlan:
    return AllocationPlan.model_validate(
        {**PLAN, "epoch": epoch, "sequence": sequence, "plan_id": f"{epoch}-{sequence}"}
    )


def test_it_takes_the_newest_drops_the_stale_and_says_so_when_it_is_stopped(tmp_path: Path) -> None:
    with EmbeddedBroker(topics_for_worker("t")) as broker:
        asyncio.run(send(broker.bootstrap_servers, numbered(2, 1), numbered(1, 9)))
        command = [sys.executable, "-m", "controller", "router", "--name", "gw", "--fleet", PLAN["fleet"]]
        with subprocess.Popen(
            [*command, "--state-dir", str(tmp_path), "--bootstrap", broker.bootstrap_servers],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as router:
            assert router.stderr is not None
            events = []
            stopping = False
            for line in router.stderr:
                events.append(json.loads(line))
                if events[-1]["event"] == "router_ready":
                    asyncio.run(send(broker.bootstrap_servers, numbered(1, 10), numbered(2, 2)))
                if not stopping and sum(event["event"] == "plan_applied" for event in events) == 2:
                    # Once: a second signal may find the loop and its handlers closed, and kill what has stopped.
                    router.send_signal(signal.SIGTERM)
                    stopping = True
            assert router.wait() == 0
        assert in_force(events) == ["2-1", "2-2"]
        (last,) = [event for event in events if event["event"] == "router_stopped"]
        assert last["counts"]["applied"] == 2
        assert last["counts"]["stale"] >= 1


def in_force(events: list[dict[str, str]]) -> list[str]:
    return [event["plan"] for event in events if event["event"] == "plan_in_force"]
