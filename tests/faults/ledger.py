"""The campaign's ledger: one JSON line for each trial, so that a campaign goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.faults.trial import Case, Trial

ATTEMPTS = 3
"""A trial whose fault missed is tried again, with another draw, so many times in all."""


class Ledger:
    """The trials that were run, in a folder that holds their worlds' files, too."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path = folder / "trials.jsonl"
        self.trials: list[Trial] = []
        if self._path.exists():
            whole, _, cut = self._path.read_text().rpartition("\n")
            self.trials = [Trial(**json.loads(line)) for line in whole.splitlines()]
            if cut:  # the campaign was killed while it wrote: that trial is run again
                self._path.write_text(whole + "\n" if whole else "")

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

    def to_do(self, kind: str, seed: int, numbers: Iterable[int]) -> list[Case]:
        """Return the cases that are still to be run, in their order."""
        cases = []
        for number in numbers:
            done = [t for t in self.trials if (t.kind, t.seed, t.number) == (kind, seed, number)]
            if all(trial.verdict == "missed" for trial in done) and len(done) < ATTEMPTS:
                cases.append(Case(kind, number, seed, len(done)))
        return cases
