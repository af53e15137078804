"""The Faust worker: ingest, planner, codec, transport, solver process."""
