"""Every topic that must exist before a worker starts: Coxswain's own and those that Faust keeps for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.topics import DEFAULT_SOURCE_PARTITIONS, TOPICS


@dataclass(frozen=True, slots=True)
class RequiredTopic:
    """A topic as it must be on the broker."""

    name: str
    partitions: int
    cleanup: Literal["delete", "compact"]
    config: Mapping[str, str] = field(default_factory=dict)


def required_topics(
    source_partitions: int = DEFAULT_SOURCE_PARTITIONS,
    app_id: str | None = None,
    tables: Mapping[str, int] | None = None,
) -> tuple[RequiredTopic, ...]:
    """Return the topics that a fleet needs.

    Parameters
    ----------
    source_partitions : partitions of the topics that scale with the load (``llm.request-rate.v1``).
    app_id : Faust's application id; without one, only Coxswain's own topics.
    tables : partitions per Faust table; each has a changelog of as many.
    """
    own = [
        RequiredTopic(
            str(spec.name),
            source_partitions if spec.partitions is None else spec.partitions,
            spec.cleanup,
            spec.config,
        )
        for spec in TOPICS.values()
    ]
    if app_id is None:
        return tuple(own)
    # Faust's names, which it also asks for itself; neither the embedded broker nor a locked-down Kafka would make them.
    leader = RequiredTopic(f"{app_id}-__assignor-__leader", 1, "delete")
    changelogs = [
        RequiredTopic(f"{app_id}-{table}-changelog", partitions, "compact")
        for table, partitions in (tables or {}).items()
    ]
    return (*own, leader, *changelogs)


def topics_for_worker(
    app_id: str, source_partitions: int = DEFAULT_SOURCE_PARTITIONS, tables: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return partitions per topic, as :class:`controller.broker.EmbeddedBroker` takes them.

    Parameters are those of :func:`required_topics`.

    >>> topics_for_worker("coxswain", 4, {"demand": 4})["coxswain-demand-changelog"]
    4
    """
    return {topic.name: topic.partitions for topic in required_topics(source_partitions, app_id, tables)}
