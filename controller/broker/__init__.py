"""The embedded broker: Kafka enough for a first run, in a process of its own. And the topics that any broker needs."""

from controller.broker.embedded import NOTICE, EmbeddedBroker
from controller.broker.required_topics import RequiredTopic, required_topics, topics_for_worker

__all__ = ["NOTICE", "EmbeddedBroker", "RequiredTopic", "required_topics", "topics_for_worker"]
