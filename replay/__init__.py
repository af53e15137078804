"""Traces: read, mapped to query types, generated, and replayed into Kafka."""
