"""What tests of several folders share. Test folders are no packages: helper modules come as fixtures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_HERE = Path(__file__).parent


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"coxswain_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kraft() -> ModuleType:
    """Fetches and runs an Apache Kafka of our own: kafka/kraft.py."""
    return _load(_HERE / "kafka" / "kraft.py")


@pytest.fixture(scope="session")
def harness() -> ModuleType:
    """Runs the real worker and reads what it says: worker_harness.py."""
    return _load(_HERE / "worker_harness.py")


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Recounts the source topic, sharing no code with the product: worker_oracle.py."""
    return _load(_HERE / "worker_oracle.py")


@pytest.fixture(scope="session")
def checks() -> ModuleType:
    """What must hold of everything that workers said: worker_checks.py."""
    return _load(_HERE / "worker_checks.py")
