"""Deployments that no cheapest plan needs: deep pipelines that several shallow ones replace (docs/mathematics.md)."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, InstanceArrays, Ints

_ROUNDING = 1e-9
_BLOCK_ENTRIES = 1 << 14
"""Entries of (type, deployment) that are compared at a time: what stays in the cache."""


def dominated(arrays: InstanceArrays) -> Bools:
    """Return (D,) True where a deployment (n, m > 1) can always be replaced by m times as many of (n, 1).

    The replacement takes the same GPUs, rent, storage and starts. It is exact where (n, 1) is never slower, needs
    no more work per GPU, and its memory cannot be what breaks: it holds no more per GPU than (n, m) does, or never
    more than its compute allows. The numbers themselves are compared, so measured profiles are covered. A deployment
    that runs now is never dominated: its replicas need no start.
    """
    result = np.zeros(arrays.num_deployments, dtype=bool)
    deep, flat = _flattened(arrays)
    rows = max(_BLOCK_ENTRIES // max(arrays.num_types, 1), 1)
    for first in range(0, len(deep), rows):
        here = slice(first, first + rows)
        result[deep[here]] = _replaces(arrays, flat[here], deep[here])
    return result


def _replaces(arrays: InstanceArrays, flat: Ints, deep: Ints) -> Bools:
    """Return (n,) whether each of the deployments ``flat`` (n,) can replace its ``deep`` one."""
    used, depth = arrays.fast_enough[:, deep], arrays.pp[deep]
    compute, most = arrays.compute_load[:, flat], depth * arrays.compute_load[:, deep]
    slower, fuller = _over(arrays.delay_s[:, flat], arrays.delay_s[:, deep]), _over(compute, most)
    worse = np.asarray(((slower | fuller) & used).any(axis=0))
    memory = arrays.memory_load[:, flat]
    if (memory > compute).any():  # nowhere else can memory be what breaks
        held = depth * arrays.memory_load[:, deep]
        worse |= (_over(memory, held) & used).any(axis=0) & (_over(memory, most) & used).any(axis=0)
    return ~worse


def _over(left: Floats, right: Floats) -> Bools:
    """Return where ``left`` is above ``right`` by more than rounding."""
    over: Bools = left > right * (1.0 + _ROUNDING)
    return over


def _flattened(arrays: InstanceArrays) -> tuple[Ints, Ints]:
    """Return the deep pipelines that do not run now, and for each the deployment of its TP degree without stages."""
    name = arrays.pair * (int(arrays.tp.max(initial=0)) + 1) + arrays.tp
    flat = np.flatnonzero(arrays.pp == 1)
    flat = flat[np.argsort(name[flat])]
    deep = np.flatnonzero((arrays.pp > 1) & (arrays.incumbent == 0))
    if not len(flat):
        return deep[:0], flat
    found = np.minimum(np.searchsorted(name[flat], name[deep]), len(flat) - 1)
    matches = name[flat[found]] == name[deep]
    return deep[matches], flat[found[matches]]
