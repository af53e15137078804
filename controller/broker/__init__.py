"""The embedded broker: Kafka enough for a first run, in a process of its own."""
