"""Every error that Coxswain raises on purpose.

::

    CoxswainError                  the one to catch
    ├── InputError                 something given to us is wrong; exit code 2
    │   ├── InstanceError          an allocation instance, a plan or an incumbent
    │   ├── CatalogError           a catalog of models, tiers and query types
    │   ├── SettingsError          settings from a file, the environment or an option
    │   ├── TraceError             a trace file that cannot be read at all
    │   └── MessageError           a record on a topic; its reason names the dead letter
    ├── SolverError                the solver gave no usable plan
    │   ├── SolverTimeoutError     it was not done by its deadline and was killed
    │   ├── SolverCrashError       its process ended, or said something that is no result
    │   └── SolverRejectedError    its plan breaks a constraint, by the judge's count
    ├── BrokerError                the broker is out of reach or lacks a topic
    └── WorkerError                a part of a worker failed; whoever supervises it starts it anew

An :class:`InputError` always says where the value stands, which rule it breaks, and what it is.
"""

from __future__ import annotations

from typing import Any

_LONGEST_VALUE = 120


class CoxswainError(Exception):
    """Base of every error that Coxswain raises on purpose."""


class InputError(CoxswainError):
    """A value that was given to Coxswain breaks a rule.

    Parameters
    ----------
    where : the place of the value: a file, a field path, a row.
    rule : what must hold, in words.
    value : the offending value, where there is one; shown shortened.
    """

    _NO_VALUE = object()

    def __init__(self, where: str, rule: str, value: Any = _NO_VALUE) -> None:
        self.where = where
        self.rule = rule
        self.value = None if value is self._NO_VALUE else value
        message = f"{where}: {rule}" if where else rule
        if value is not self._NO_VALUE:
            shown = repr(value)
            if len(shown) > _LONGEST_VALUE:
                shown = shown[:_LONGEST_VALUE] + "…"
            message = f"{message}, got {shown}"
        super().__init__(message)


class InstanceError(InputError):
    """An allocation instance, a plan or an incumbent breaks a rule of docs/mathematics.md."""


class CatalogError(InputError):
    """A catalog is refused; the one in force stays."""


class SettingsError(InputError):
    """A setting is missing, out of range, or clashes with another."""


class TraceError(InputError):
    """A trace cannot be read: no such file, unknown columns, broken compression."""


class MessageError(InputError):
    """A record on a topic is refused. ``reason`` is the short name that dead letters and counters carry."""

    def __init__(self, reason: str, where: str, rule: str, value: Any = InputError._NO_VALUE) -> None:
        super().__init__(where, rule, value)
        self.reason = reason


class SolverError(CoxswainError):
    """The solver gave no plan that can be used. ``reason`` is the short name that the decision carries."""

    reason = "failed"


class SolverTimeoutError(SolverError):
    """The solver was not done by its deadline and was killed."""

    reason = "timeout"

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the solver was not done after {deadline_s:g} s and was killed")
        self.deadline_s = deadline_s


class SolverCrashError(SolverError):
    """The solver's process ended or answered with something that is no result."""

    reason = "crashed"


class SolverRejectedError(SolverError):
    """The solver's plan breaks a constraint, by the judge's count."""

    reason = "rejected"


class BrokerError(CoxswainError):
    """The broker cannot be reached, or a topic is missing or made wrongly."""


class WorkerError(CoxswainError):
    """A part of a worker failed, and the worker with it; whoever supervises it starts it anew."""
