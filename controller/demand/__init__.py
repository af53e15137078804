"""Demand: totals by event time, and what they say of the horizon to come. Pure."""
