"""Traces played through estimators and policies, offline: no broker, no clock, nothing of the future."""
