"""What is known of the fleet beside its demand: the catalog in force, and what was last said to run.

Every worker knows it: ingest which query types there are, the planner all of it. The newest record that can be used is
in force; a bad one changes nothing. The catalog's file holds until its topic has a catalog, and again once that was
taken off the topic (by a record without a value, which is how a compacted topic forgets a key).
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.domain.catalog import Catalog
from controller.domain.observed_fleet import ObservedFleet
from controller.errors import MessageError
from controller.logs import get_logger
from controller.stream.fleet_codec import catalog_of, observed_fleet_of
from schemas import DeadLetter, Topic
from schemas.base import iso_utc

log = get_logger(__name__)

TOPICS = (Topic.CATALOG, Topic.FLEET_STATE)
_FILE = "file"


@dataclass(frozen=True, slots=True)
class NewsRecord:
    """A record of one of :data:`TOPICS`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class FleetNews:
    """The newest catalog and the newest fleet state.

    Parameters
    ----------
    catalog : of the file; the fleet is the one that it names.
    validity_s : how long a fleet state may be believed.
    max_skew_s : how far ahead of the clock it may be.
    """

    def __init__(self, catalog: Catalog, validity_s: float, max_skew_s: float) -> None:
        self._file = catalog
        self._catalog = catalog
        self._validity_s = validity_s
        self._max_skew_s = max_skew_s
        self._observed: ObservedFleet | None = None
        self._is_told = False

    @property
    def catalog(self) -> Catalog:
        """The catalog in force."""
        return self._catalog

    def take(self, record: NewsRecord) -> DeadLetter | None:
        """Take in a record; return the letter to bury where it is refused. Never raises for what is in it."""
        try:
            if record.topic == Topic.CATALOG:
                self._take_catalog(record)
            else:
                self._observed = observed_fleet_of(record.value, self._file.fleet)
                self._is_told = False
        except MessageError as error:
            refused = "catalog_refused" if record.topic == Topic.CATALOG else "fleet_state_refused"
            log.warning(refused, offset=record.offset, reason=error.reason, error=str(error))
            place = record.topic, record.partition, record.offset
            return DeadLetter.of(error.reason, str(error), *place, record.value or b"")
        return None

    def _take_catalog(self, record: NewsRecord) -> None:
        if record.value is None and record.key == self._file.fleet.encode():
            found, source = self._file, _FILE
        else:
            found, source = catalog_of(record.value, self._file.fleet), f"{record.topic}@{record.offset}"
        if found.digest == self._catalog.digest:
            return
        before, self._catalog = self._catalog, found
        log.info(
            "catalog_in_force",
            fleet=found.fleet,
            digest=found.digest,
            source=source,
            instead_of=before.digest,
            query_types_added=sorted(set(found.type_names) - set(before.type_names)),
            query_types_removed=sorted(set(before.type_names) - set(found.type_names)),
        )

    def fleet(self, now_s: float) -> ObservedFleet | None:
        """Return what runs; None where nobody said, or what was said is not of this time, which is logged once."""
        observed = self._observed
        if observed is None or -self._max_skew_s <= now_s - observed.as_of_s <= self._validity_s:
            return observed
        if not self._is_told:
            self._is_told = True
            log.warning(
                "fleet_state_ignored",
                as_of=iso_utc(observed.as_of_s),
                age_s=round(now_s - observed.as_of_s, 3),
                believed_s=self._validity_s,
                believed_ahead_s=self._max_skew_s,
            )
        return None
