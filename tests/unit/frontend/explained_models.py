"""What a supervisor explains of a model's batching, for tests, in a few words."""

from __future__ import annotations

from typing import Any

WAITED = {"count": 9, "mean_us": 12.3, "p50_us": 9.9, "p99_us": 1250.0}


def explained_form(reason: str, **facts: Any) -> dict[str, Any]:
    return {
        "inputs": None,
        "batched": True,
        "reason": reason,
        "mode": "adaptive",
        "max_rows": 32,
        "allowed": [],
        "timeout_us": 2000,
        "fixed_us": 12.0,
        "row_us": 0.4,
        "in_flight": 0,
        **facts,
    }


def explained_model(name: str = "m", device: str = "cpu:0") -> dict[str, Any]:
    """Of one version, with a signature of this name that is batched in one form and not in another; another device is
    silent. Every text is `name`.
    """
    forms = [explained_form(name), explained_form(name, batched=False, inputs=[[1, "<f4", [3]]])]
    counted = {
        "batches": 5,
        "rows": 9,
        "sizes": {"1": 3, "2-3": 2},
        "closed": {name: 5},
        "padding_rows": 0,
        "retried": 0,
        "lingered": WAITED,
        "ran": None,
        "merged": None,
    }
    signature = {
        "signature": name,
        "waited": WAITED,
        "rejected": {},
        "devices": [{"device": device, "forms": forms, **counted}],
    }
    return {"model": name, "versions": [{"version": 1, "troubles": {name: name}, "signatures": [signature]}]}
