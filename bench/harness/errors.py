"""Why a run can't be done."""

from __future__ import annotations


class HarnessError(RuntimeError):
    """Its text is for whoever started the run."""
