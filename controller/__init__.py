"""Coxswain's controller: what a fleet of mixed GPUs should run now, and which query goes where."""

__version__ = "0.1.0"
