"""The smallest fleet that there can be, for tests that plan without caring what: one model on one GPU tier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def small_catalog(
    types: Sequence[str] = ("chat",),
    *,
    unmet_penalty_usd: float = 1.0,
    compute_tflops: float = 2.0,
    tp_degrees: Iterable[int] = (1,),
    **changes: Any,
) -> dict[str, Any]:
    """Return a catalog as it is written; ``changes`` are whole fields of it.

    At 2 TFLOPS an input token takes a thousandth of a GPU-second.
    """
    return {
        "schema": "catalog/1",
        "fleet": "main",
        "query_types": [
            {"name": name, "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": unmet_penalty_usd}
            for name in types
        ],
        "models": [
            {"name": "m", "params_b": 0.5, "weights_gb": 1.0, "base_error": dict.fromkeys(types, 0.1)},
        ],
        "gpu_tiers": [
            {
                "name": "gpu",
                "memory_gb": 80.0,
                "memory_bandwidth_gb_s": 1000.0,
                "compute_tflops": compute_tflops,
                "price_usd_per_h": 3.6,
                "tp_degrees": list(tp_degrees),
                "pp_depths": [1],
            }
        ],
        **changes,
    }
