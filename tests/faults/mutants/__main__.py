"""Start Coxswain with a bug: ``python -m tests.faults.mutants NAME worker --config ...``."""

from __future__ import annotations

import sys

from controller.cli import main
from tests.faults.mutants.worker import MUTANTS

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    main()
