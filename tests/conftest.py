"""What tests of several folders share. Test folders are no packages: helper modules come as fixtures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"coxswain_tests_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def harness() -> ModuleType:
    """Runs the real worker and reads what it says: worker_harness.py."""
    return _load("worker_harness")


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Recounts the source topic, sharing no code with the product: worker_oracle.py."""
    return _load("worker_oracle")


@pytest.fixture(scope="session")
def checks() -> ModuleType:
    """What must hold of everything that workers said: worker_checks.py."""
    return _load("worker_checks")
