"""The last good plan, kept on disk: what a router that starts without a broker can still route by."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from controller.errors import MessageError
from controller.logs import get_logger
from controller.router.decode import decode_plan
from controller.router.fence import Fence, LogIdentity
from schemas import AllocationPlan, Message

_log = get_logger(__name__)
_FILE_NAME = "last-good-plan.json"


class _Record(Message):
    """What the file holds. The plan is text, so that its checksum is over the very bytes that are read back."""

    schema_name: Literal["last-good-plan/1"] = Field(default="last-good-plan/1", alias="schema")
    cluster_id: str | None
    claims_topic_id: str | None
    sha256: str
    plan: str


@dataclass(frozen=True, slots=True)
class LastGood:
    """A plan that was acted on, and the fence that it left."""

    plan: AllocationPlan
    fence: Fence


class LastGoodStore:
    """One file in a directory of one router's own.

    Parameters
    ----------
    directory : made if it is not there. Two routers must not share one.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE_NAME

    def load(self) -> LastGood | None:
        """Return what was kept; None where nothing was, or where it cannot be trusted, which is logged."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.error("last_good_plan_unreadable", path=str(self._path), reason=str(error))
            return None
        try:
            return _decode(raw)
        except (MessageError, ValueError) as error:
            _log.error("last_good_plan_corrupt", path=str(self._path), reason=str(error))
            return None

    def save(self, plan: AllocationPlan, identity: LogIdentity) -> None:
        """Replace what was kept, all or nothing: after a crash the file holds the one plan or the other.

        Raises
        ------
        OSError
            The directory cannot be written, or is full; what was kept stays.
        """
        text = plan.model_dump_json()
        record = _Record(
            cluster_id=identity.cluster_id,
            claims_topic_id=identity.claims_topic_id,
            sha256=_checksum(text, identity.cluster_id, identity.claims_topic_id),
            plan=text,
        )
        directory = self._path.parent
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{_FILE_NAME}.", dir=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(record.encode())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directory(directory)


def _decode(raw: bytes) -> LastGood:
    record = _Record.model_validate_json(raw)
    if _checksum(record.plan, record.cluster_id, record.claims_topic_id) != record.sha256:
        raise ValueError("the checksum is not that of the plan")
    plan = decode_plan(record.plan.encode())
    identity = LogIdentity(record.cluster_id, record.claims_topic_id)
    return LastGood(plan, Fence(identity, (plan.epoch, plan.sequence)))


def _checksum(plan: str, cluster_id: str | None, claims_topic_id: str | None) -> str:
    return hashlib.sha256(json.dumps([plan, cluster_id, claims_topic_id]).encode()).hexdigest()


def _sync_directory(directory: Path) -> None:
    """Make a rename last: the directory is written too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
