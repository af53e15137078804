"""Moves of the local search: each is priced without touching the state, and then carried out."""
