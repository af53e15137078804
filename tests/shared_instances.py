"""The instances of ``tests/data``, by name; each is read once."""

from functools import cache
from pathlib import Path

from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance

_INSTANCES = Path(__file__).parent / "data" / "instances"


@cache
def shared(name: str) -> Instance:
    """Return the shared instance of that name."""
    return load_instance(_INSTANCES / f"{name}.json")
